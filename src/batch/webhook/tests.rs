//! Events on every kind of store, delivered to a receiver that is not always willing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};

use super::*;
use crate::batch::record::{Counts, Endpoint};
use crate::config::{self, Secret};
use crate::fetch::testing::{Answer, Site, file, status};
use crate::ids::KeyId;
use crate::money::MicroUsd;
use crate::store::testing::{self, TestStore};
use crate::tenancy::admin::{self, Actor, Edit, EditTeam, Precondition};
use crate::tenancy::{NewSecret, NewTeam, NewWebhook};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Place {
    store: TestStore,
    clock: Clock,
    sealer: Sealer,
    team: Team,
    secret: String,
}

impl Place {
    /// A store with a team whose webhook is at `url`.
    async fn of(store: TestStore, url: &str) -> Self {
        let clock = Clock::manual(START);
        let sealing_key = Secret::new(STANDARD.encode([7; 32]));
        let sealer = Sealer::configured(&config::Auth { sealing_key, ..config::Auth::default() }).unwrap();
        let secret = NewSecret::make(Some(&sealer)).unwrap();
        let webhook = Some(NewWebhook { url: url.to_owned(), secret: secret.clone() });
        let new = NewTeam { webhook, ..NewTeam::new("acme") };
        let team = admin::create_team(&store, &clock, Actor::CommandLine, new).await.unwrap();
        let secret = secret.shown_for(&team).unwrap().to_owned();
        Self { store, clock, sealer, team, secret }
    }

    fn webhooks(&self, site: &Site) -> Webhooks {
        let (fetcher, metrics) = (Arc::new(site.fetcher()), Metrics::new().unwrap());
        Webhooks::new((*self.store).clone(), self.clock.clone(), Some(self.sealer.clone()), fetcher, metrics)
    }

    async fn queue(&self, batch: &Batch) {
        let mut transaction = self.store.begin().await.unwrap();
        queue(&mut transaction, batch, self.clock.now()).await.unwrap();
        transaction.commit().await.unwrap();
    }

    fn batch(&self, id: &str, state: State) -> Batch {
        Batch {
            id: id.to_owned(),
            team: self.team.id.clone(),
            key: KeyId::from("k"),
            surface: "openai".to_owned(),
            endpoint: Endpoint::Chat,
            model: None,
            invocation: None,
            input_file: "file-1".to_owned(),
            output_file: None,
            error_file: None,
            state,
            counts: Counts::default(),
            estimate: None,
            cost: MicroUsd(0),
            unpriced: 0,
            metadata: BTreeMap::new(),
            details: None,
            errors: Vec::new(),
            reason: None,
            webhook_url: None,
            created_at: START,
            in_progress_at: None,
            finalizing_at: None,
            cancelling_at: None,
            ended_at: None,
            expires_at: START,
        }
    }

    /// Tries all that is due once, and says how many that was.
    async fn round(&self, webhooks: &Webhooks) -> usize {
        let events = webhooks.lease(AT_ONCE).await;
        let count = events.len();
        for event in events {
            webhooks.attempt(event).await;
        }
        count
    }

    async fn rows(&self) -> Vec<Vec<String>> {
        let sql = "SELECT CASE WHEN ended_at IS NULL THEN 'open' ELSE 'over' END, COALESCE(problem, '-'), \
                   CAST(tries AS TEXT) FROM webhook_events ORDER BY created_at, id";
        self.store.texts(sql).await
    }
}

async fn places(url: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for store in testing::stores().await {
        places.push(Place::of(store, url).await);
    }
    places
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(&*format!("{name}: "))).unwrap()
}

/// As the specification says it, without a line of the gateway's.
fn is_signed(secret: &str, head: &str, body: &[u8]) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, at) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
    mac.update(&[id.as_bytes(), b".", at.as_bytes(), b".", body].concat());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    header(head, "webhook-signature").split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn a_receiver_that_fails_twice_gets_the_message_the_third_time() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let site = Site::start(move |_, _| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move { if call % 3 < 2 { status(500, "x: y") } else { file("thanks") } }
    })
    .await;
    for (index, place) in places(&site.url("/hook")).await.into_iter().enumerate() {
        let webhooks = place.webhooks(&site);
        place.queue(&place.batch("batch_1", State::Completed)).await;
        place.queue(&place.batch("batch_1", State::Completed)).await;
        assert_eq!(place.round(&webhooks).await, 1, "a batch makes one event");
        assert_eq!(place.rows().await, [["open", "the receiver answered 500", "1"]]);
        let problem = Some("the receiver answered 500".to_owned());
        let told = notice(&place.store, "batch_1").await.unwrap();
        assert_eq!(told, Some(Notice { tries: 1, ended_at: None, problem }));
        assert_eq!(notice(&place.store, "batch_2").await.unwrap(), None);
        assert_eq!(place.round(&webhooks).await, 0, "not before the pause is over");
        place.clock.advance(Duration::from_secs(6));
        assert_eq!(place.round(&webhooks).await, 1);
        place.clock.advance(Duration::from_secs(36));
        // Another process, after a restart.
        assert_eq!(place.round(&place.webhooks(&site)).await, 1);
        assert_eq!(place.rows().await, [["over", "-", "3"]]);
        place.clock.advance(Duration::from_hours(24));
        assert_eq!(place.round(&webhooks).await, 0);

        let (heads, bodies) = (site.asked().split_off(index * 3), site.bodies().split_off(index * 3));
        assert_eq!(heads.len(), 3);
        for (head, body) in heads.iter().zip(&bodies) {
            assert!(head.starts_with("POST /hook ") && is_signed(&place.secret, head, body), "{head}");
            assert_eq!((header(head, "webhook-id"), body), (header(&heads[0], "webhook-id"), &bodies[0]));
        }
        assert_eq!(header(&heads[2], "webhook-timestamp"), "1700000042", "of the try");
        let event: serde_json::Value = serde_json::from_slice(&bodies[0]).unwrap();
        let id = header(&heads[0], "webhook-id");
        let expected = json!({"id": id, "object": "event", "created_at": 1_700_000_000, "type": "batch.completed",
            "data": {"id": "batch_1"}});
        assert_eq!(event, expected);
        let text = webhooks.0.metrics.render();
        let retried = r#"gateway_webhook_deliveries_total{result="retried",team="acme"} 2"#;
        assert!(text.contains(retried), "{text}");
    }
}

#[tokio::test]
async fn every_end_of_a_batch_is_told_and_nothing_else() {
    let site = Site::start(|_, _| async { file("x") }).await;
    let place = Place::of(testing::sqlite().await, &site.url("/team")).await;
    for (index, state) in [
        State::Validating,
        State::InProgress,
        State::Finalizing,
        State::Cancelling,
        State::Completed,
        State::Failed,
        State::Expired,
        State::Cancelled,
    ]
    .into_iter()
    .enumerate()
    {
        let own = (state == State::Expired).then(|| site.url("/own"));
        place.queue(&Batch { webhook_url: own, ..place.batch(&format!("batch_{index}"), state) }).await;
    }
    assert_eq!(place.round(&place.webhooks(&site)).await, 4);
    let told = site.asked().into_iter().zip(site.bodies()).map(|(head, body)| {
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(is_signed(&place.secret, &head, &body), "also to a URL of the batch's own");
        format!("{} {}", head.split(' ').nth(1).unwrap(), event["type"].as_str().unwrap())
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    let expected = ["/own batch.expired", "/team batch.cancelled", "/team batch.completed", "/team batch.failed"];
    assert_eq!(told, expected);

    let clear = EditTeam { webhook: Edit::Clear, ..EditTeam::default() };
    let which = ("acme", &Precondition::Any);
    admin::change_team(&place.store, &place.clock, Actor::CommandLine, which, clear).await.unwrap();
    place.queue(&place.batch("batch_9", State::Completed)).await;
    assert_eq!(place.round(&place.webhooks(&site)).await, 0, "nobody is to be told");
    place.clock.advance(Duration::from_secs(1));
    place.queue(&Batch { webhook_url: Some(site.url("/own")), ..place.batch("batch_10", State::Completed) }).await;
    assert_eq!(place.round(&place.webhooks(&site)).await, 1);
    assert_eq!(place.rows().await.last().unwrap()[..2], ["over", "the team has no webhook any more"]);
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_alone_and_one_that_never_answers_is_given_up_after_a_day() {
    let site =
        Site::start(|path, _| async move { if path == "/gone" { status(410, "x: y") } else { status(503, "x: y") } })
            .await;
    for place in places(&site.url("/gone")).await {
        let webhooks = place.webhooks(&site);
        place.queue(&place.batch("batch_1", State::Completed)).await;
        place.round(&webhooks).await;
        assert_eq!(place.rows().await, [["over", "the receiver answered 410: it wants no more", "1"]]);
        place.clock.advance(RETENTION);
        queries::purge(&place.store, place.clock.now()).await.unwrap();
        assert_eq!(place.rows().await, Vec::<Vec<String>>::new());

        place.queue(&Batch { webhook_url: Some(site.url("/down")), ..place.batch("batch_2", State::Failed) }).await;
        let begin = place.clock.now();
        while place.rows().await[0][0] == "open" {
            place.round(&webhooks).await;
            place.clock.advance(Duration::from_mins(30));
            assert!(place.clock.now().since(begin) < Duration::from_hours(40));
        }
        assert_eq!(place.rows().await, [["over", "the receiver answered 503", "11"]]);
        assert!(place.clock.now().since(begin) > Duration::from_hours(16));
    }
}

#[tokio::test]
async fn two_processes_deliver_an_event_one_at_a_time_and_a_lease_that_ended_is_somebody_elses() {
    for place in places("https://example.com/hook").await {
        let now = place.clock.now();
        for index in 0..20 {
            place.queue(&place.batch(&format!("batch_{index}"), State::Completed)).await;
        }
        let again = testing::again(&place.store).await;
        let (one, two) = tokio::join!(
            queries::lease(&place.store, now, now.plus(LEASE), 16),
            queries::lease(&again, now, now.plus(LEASE), 16)
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        let mut ids: Vec<_> = one.iter().chain(&two).map(|event| event.id.clone()).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "no event twice");
        let later = now.plus(LEASE);
        let mut taken = queries::lease(&place.store, later, later.plus(LEASE), 32).await.unwrap();
        assert_eq!(taken.len(), 20, "who died has not delivered them");
        queries::end(&place.store, &one[0], later, None).await.unwrap();
        queries::postpone(&place.store, &one[0], later, "late").await.unwrap();
        assert!(place.rows().await.iter().all(|row| row[0] == "open" && row[1] == "-"), "who is late changes nothing");
        queries::end(&place.store, &taken.remove(0), later, None).await.unwrap();
        assert_eq!(place.rows().await.iter().filter(|row| row[0] == "over").count(), 1);
    }
}

#[tokio::test]
async fn the_task_delivers_what_is_due_and_ends_when_it_is_told_to() {
    let site = Site::start(|_, _| async { file("x") }).await;
    let place = Place::of(testing::sqlite().await, &site.url("/hook")).await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    place.queue(&place.batch("batch_1", State::Completed)).await;
    place.webhooks(&site).deliver_in_background(&tracker, stop.clone());
    tokio::time::timeout(Duration::from_secs(20), async {
        while place.rows().await[0][0] == "open" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    tracker.close();
    tokio::time::timeout(Duration::from_secs(20), tracker.wait()).await.unwrap();
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn what_a_caller_may_name_is_judged_at_once_and_again_when_it_is_called() {
    let site = Site::start(|_, _| async { Answer::Whole(Vec::new()) }).await;
    let place = Place::of(testing::sqlite().await, &site.url("/hook")).await;
    let strict = Fetcher::new(&config::Fetch::default(), 1).unwrap();
    let off = Fetcher::new(&config::Fetch { enabled: false, ..config::Fetch::default() }, 1).unwrap();
    let without = Team { webhook: None, ..place.team.clone() };
    assert!(check(&strict, &place.team, "https://example.com/hook").is_ok());
    for (fetcher, team, url, told) in [
        (&strict, &place.team, "https://169.254.169.254/", "not public"),
        (&strict, &place.team, "http://example.com/", "only https://"),
        (&strict, &place.team, "nonsense", "not a URL"),
        (&strict, &without, "https://example.com/hook", "no secret"),
        (&off, &place.team, "https://example.com/hook", "fetch.enabled"),
    ] {
        let error = check(fetcher, team, url).unwrap_err();
        assert_eq!(error.blamed(), Some("webhook_url"), "{url}");
        assert!(error.message().contains(told), "{error}");
    }
    // It may have been public when it was named.
    place.queue(&place.batch("batch_1", State::Completed)).await;
    let metrics = Metrics::new().unwrap();
    let (store, sealer) = ((*place.store).clone(), Some(place.sealer.clone()));
    let webhooks = Webhooks::new(store, place.clock.clone(), sealer, Arc::new(strict), metrics);
    place.round(&webhooks).await;
    assert_eq!(place.rows().await, [["open", "the address is not public", "1"]]);
    assert_eq!(site.asked(), Vec::<String>::new());
}

#[test]
fn pauses_grow_to_nearly_a_day_and_end() {
    let all: Vec<_> = (1..).map_while(|tries| pause_after(tries, 0.5)).collect();
    let sum: Duration = all.iter().sum();
    assert!(sum > Duration::from_hours(23) && sum < Duration::from_hours(25), "{sum:?}");
    assert!(all.is_sorted());
    assert_eq!(pause_after(1, 0.0), Some(Duration::from_secs(4)));
    assert_eq!(pause_after(1, 1.0), Some(Duration::from_secs(6)));
    assert_eq!(pause_after(11, 0.5), None);
}

#[test]
fn an_event_has_an_id_of_its_batch() {
    assert_eq!(id_of("batch_1"), id_of("batch_1"));
    assert_ne!(id_of("batch_1"), id_of("batch_2"));
    assert!(id_of("batch_1").strip_prefix("evt_").is_some_and(|hex| hex.len() == 32));
}
