//! A gateway as in production, in this process: the real `App`, a store in a temporary file, a simulated Bedrock with one
//! port for each Region, a clock that moves only by hand.

mod books;
pub(crate) mod calls;
pub(crate) mod canned;
pub(crate) mod collector;
pub(crate) mod frames;
pub(crate) mod issuer;
pub(crate) mod log;
mod raw;
pub(crate) mod reply;
pub(crate) mod scrape;
pub(crate) mod site;
pub(crate) mod tap;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bedrock_gateway::app::{App, Local};
use bedrock_gateway::batch::Batches;
use bedrock_gateway::catalog::Catalog;
use bedrock_gateway::clock::{Clock, Timestamp};
use bedrock_gateway::config::{Aws, Config, Problems, Secret};
use bedrock_gateway::gateway::Gateway;
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::simulator::{Settings, Simulator};
use bedrock_gateway::store::Store;
use bedrock_gateway::telemetry::Metrics;
use bedrock_gateway::tenancy::admin::{self, Actor, Precondition, SetBudget, SetLimit, Whose};
use bedrock_gateway::tenancy::ledger::{self, Entry};
use bedrock_gateway::tenancy::{Balance, Key, NewKey, NewTeam, Options, Period, Tenancy, journal};
use reqwest::{Method, RequestBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::calls::{Anthropic, Bedrock, OpenAi};
use self::reply::Reply;
use self::scrape::Scrape;
use self::tap::Tap;

/// What the tests call, by its short name: offered in both Regions, there by a profile of the US.
pub(crate) const MODEL: &str = "claude-haiku-4-5";
/// Its Bedrock id, as the ledger names it.
pub(crate) const MODEL_ID: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
/// The Region that is preferred, and the other one.
pub(crate) const FIRST: &str = "us-east-1";
pub(crate) const SECOND: &str = "us-west-2";
/// The team of every key that does not say otherwise.
pub(crate) const TEAM: &str = "testers";

/// Nothing here takes this long; what does has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// A gateway under test.
pub(crate) struct TestGateway {
    /// What plays Bedrock.
    pub(crate) sim: Simulator,
    /// What time it is for the gateway.
    pub(crate) clock: Clock,
    /// Between gateway and simulator, when asked for by [`TestGateway::tapped`].
    pub(crate) tap: Tap,
    /// The store, opened as the command line opens it.
    pub(crate) store: Store,
    /// The configuration it was started with.
    pub(crate) config: Config,
    address: SocketAddr,
    ops_address: SocketAddr,
    key: String,
    /// Every key that was made, to see that none holds anything at the end.
    keys: Mutex<Vec<String>>,
    /// Attempts that are known not to have reached the simulator.
    lost: AtomicU64,
    http: reqwest::Client,
    gateway: Gateway,
    app: Option<App>,
    upstream: Upstream,
    tracker: TaskTracker,
    folder: TempDir,
    finished: bool,
}

/// What serves the Regions.
enum Upstream {
    Local(Local),
    Tapped { stop: CancellationToken, tracker: TaskTracker },
}

impl TestGateway {
    /// With the default settings, on free ports.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(change, Settings::default(), false).await
    }

    /// In front of a Bedrock that believes this.
    pub(crate) async fn simulated(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::launch(|_| {}, settings, false).await
    }

    /// With settings changed, in front of a Bedrock that believes this.
    pub(crate) async fn with_simulated(change: impl FnOnce(&mut Config), believe: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        believe(&mut settings);
        Self::launch(change, settings, false).await
    }

    /// Calling AWS with this role, which the key of the simulator may assume.
    pub(crate) async fn assuming(role_arn: &str) -> Self {
        let role_arn = role_arn.to_owned();
        Self::launch_as(|_| {}, Settings::default(), false, |aws, _| aws.role_arn = role_arn).await
    }

    /// Calling AWS with an API key, beside the credentials that there are.
    pub(crate) async fn bearing() -> Self {
        let token = |aws: &mut Aws, sim: &Simulator| {
            aws.bearer_token = Some(Secret::new(sim.settings().bearer_tokens[0].clone()));
        };
        Self::launch_as(|_| {}, Settings::default(), false, token).await
    }

    /// Ends all sessions of AWS as their time does.
    pub(crate) fn expire_sessions(&self) {
        self.sim.expire_sessions();
    }

    /// Ends all sessions of AWS as an administrator does.
    pub(crate) fn revoke_sessions(&self) {
        self.sim.revoke_sessions();
    }

    /// With a tap between gateway and Bedrock, which sees every byte and can hold a stream.
    pub(crate) async fn tapped(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(change, Settings::default(), true).await
    }

    async fn launch(change: impl FnOnce(&mut Config), settings: Settings, tapped: bool) -> Self {
        Self::launch_as(change, settings, tapped, |_, _| {}).await
    }

    /// `identify` changes how the gateway shows AWS who it is.
    async fn launch_as(
        change: impl FnOnce(&mut Config),
        settings: Settings,
        tapped: bool,
        identify: impl FnOnce(&mut Aws, &Simulator),
    ) -> Self {
        log::capture();
        let folder = TempDir::with_prefix("bedrock-gateway-it-").unwrap();
        let mut config = Config::default();
        config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.server.ops_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.store.url = format!("sqlite://{}", folder.path().join("it.db").display());
        config.store.journal = folder.path().join("journal").display().to_string();
        config.server.notice_seconds = 0;
        // What a test counts at the simulator, its own calls made.
        config.aws.catalog_refresh_minutes = 0;
        change(&mut config);
        let chosen = config.aws.endpoints.clone();
        let tap = Tap::default();
        let (sim, upstream) = if tapped {
            serve_tapped(&mut config, settings, &tap).await
        } else {
            let local = Local::start(&mut config, settings).await.unwrap();
            (local.simulator.clone(), Upstream::Local(local))
        };
        config.aws.endpoints.extend(chosen);
        identify(&mut config.aws, &sim);

        let clock = Clock::manual(Clock::system().now());
        let store = Store::open(&config.store.url).await.unwrap();
        admin::create_team(&store, &clock, Actor::CommandLine, NewTeam::new(TEAM)).await.unwrap();
        let new = NewKey::new(TEAM, "default");
        let (_, key) = admin::create_key(&store, &clock, Actor::CommandLine, new).await.unwrap();
        let key = key.expose().to_owned();
        let catalog = Catalog::configured(&config).unwrap();
        let app = Box::pin(App::start(&config, catalog, clock.clone(), None)).await.unwrap();
        Self {
            sim,
            clock,
            tap,
            store,
            config,
            address: app.address,
            ops_address: app.ops_address,
            keys: Mutex::new(vec![key.clone()]),
            key,
            lost: AtomicU64::new(0),
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            gateway: app.gateway(),
            app: Some(app),
            upstream,
            tracker: TaskTracker::new(),
            folder,
            finished: false,
        }
    }

    /// The OpenAI surface, with the key that every gateway under test has.
    pub(crate) fn openai(&self) -> OpenAi<'_> {
        OpenAi::new(self, &self.key)
    }

    /// The Anthropic surface, with that key.
    pub(crate) fn anthropic(&self) -> Anthropic<'_> {
        Anthropic::new(self, &self.key)
    }

    /// The Bedrock surface, with that key.
    pub(crate) fn bedrock(&self) -> Bedrock<'_> {
        Bedrock::new(self, &self.key)
    }

    /// The key that every gateway under test has.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Where a test may put files.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request to the client port, without a key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// The answer to a request without a body, with the key.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::to(self.request(Method::GET, path).bearer_auth(&self.key)).await
    }

    /// The answer of the ops port.
    pub(crate) async fn ops(&self, path: &str) -> Reply {
        Reply::to(self.http.get(format!("http://{}{path}", self.ops_address))).await
    }

    /// The answer to bytes that no proper client would send.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        raw::exchange(self.address, request.as_ref()).await
    }

    /// Makes a key as the command line does, in the store alone.
    pub(crate) async fn make_key(&self, new: NewKey) -> (Key, String) {
        let (key, text) = admin::create_key(&self.store, &self.clock, Actor::CommandLine, new).await.unwrap();
        let text = text.expose().to_owned();
        self.lock_keys().push(text.clone());
        (key, text)
    }

    /// Has [`TestGateway::finish`] look after a key that was made elsewhere.
    pub(crate) fn watch(&self, key: &str) {
        self.lock_keys().push(key.to_owned());
    }

    /// Makes a team as the command line does.
    pub(crate) async fn make_team(&self, new: NewTeam) {
        admin::create_team(&self.store, &self.clock, Actor::CommandLine, new).await.unwrap();
    }

    /// Sets a limit as the command line does, and returns when it counts.
    pub(crate) async fn set_limit(&self, limit: SetLimit) {
        let any = Precondition::Any;
        admin::set_limit(&self.store, &self.clock, Actor::CommandLine, &any, limit).await.unwrap();
        self.gateway.tenancy().refresh().await;
    }

    /// Sets a budget of the team that every key belongs to, and returns when it counts.
    pub(crate) async fn set_budget(&self, period: Period, limit: MicroUsd) {
        let whose = Whose { team: Some(TEAM.into()), key: None };
        let set = SetBudget { whose, period: period.to_string(), limit_usd: limit.to_string() };
        let any = Precondition::Any;
        admin::set_budget(&self.store, &self.clock, Actor::CommandLine, &any, set).await.unwrap();
        self.gateway.tenancy().refresh().await;
    }

    /// How the one budget stands that there is, once it paid for a call.
    pub(crate) fn balance(&self) -> Balance {
        let accounts = self.gateway.tenancy().accounts();
        assert_eq!(accounts.len(), 1, "{accounts:?}");
        accounts[0].balance
    }

    /// The batches of the gateway, for what no timer is waited for.
    pub(crate) fn batches(&self) -> &Batches {
        let app = self.app.as_ref().expect("the gateway is draining already");
        app.batches().expect("the test has a bucket and a role")
    }

    /// The gateway itself, for what no surface tells.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Has AWS asked once what it has, in all Regions.
    pub(crate) async fn refresh(&self) {
        self.app.as_ref().expect("the gateway is draining already").refresher().refresh().await;
    }

    /// So many attempts will not reach the simulator.
    pub(crate) fn expect_lost_attempts(&self, attempts: u64) {
        self.lost.store(attempts, Ordering::Relaxed);
    }

    /// What would be booked in the end if the process died now: what is in the store, and what it has written down, as a
    /// start reads it.
    pub(crate) async fn booked_if_killed_now(&self) -> Vec<Entry> {
        let folder = TempDir::new_in(self.folder()).unwrap();
        for name in self.journal() {
            // What is gone by now is in the store.
            std::fs::copy(Path::new(&self.config.store.journal).join(&name), folder.path().join(name)).ok();
        }
        let mut booked = ledger::list(&self.store, Timestamp::default(), 10_000).await.unwrap();
        let store = Store::open(&format!("sqlite://{}", folder.path().join("next.db").display())).await.unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let setup = journal::Setup::new(folder.path(), Metrics::new().unwrap());
        let options = Options { journal: Some(setup), ..Options::new(Metrics::new().unwrap()) };
        Tenancy::open(store.clone(), self.clock.clone(), options, &tracker, stop.clone()).await.unwrap();
        stop.cancel();
        tracker.close();
        within(tracker.wait()).await;
        let mut left = ledger::list(&store, Timestamp::default(), 10_000).await.unwrap();
        left.retain(|entry| booked.iter().all(|other| other.id != entry.id));
        booked.extend(left);
        booked
    }

    /// Every call booked so far, oldest first.
    pub(crate) async fn ledger(&self) -> Vec<Entry> {
        self.gateway.tenancy().flush().await;
        ledger::list(&self.store, Timestamp::default(), 10_000).await.unwrap()
    }

    /// The one call that was made, once it is booked.
    pub(crate) async fn only_call(&self) -> Entry {
        let [entry] = <[Entry; 1]>::try_from(self.booked_calls(1).await).unwrap();
        entry
    }

    /// The calls, once so many are booked.
    pub(crate) async fn booked_calls(&self, count: usize) -> Vec<Entry> {
        eventually("the calls are booked", async || self.ledger().await.len() >= count).await;
        let entries = self.ledger().await;
        assert_eq!(entries.len(), count, "{entries:#?}");
        entries
    }

    /// The metrics as they are now.
    pub(crate) fn metrics(&self) -> Scrape {
        Scrape::parse(&self.gateway.metrics().render())
    }

    /// Has the gateway read its configuration again, which is the one it was started with and this change.
    pub(crate) async fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.clone();
        change(&mut config);
        let catalog = Catalog::configured(&config);
        self.read(catalog.map(|catalog| (config, catalog))).await;
    }

    /// Has the gateway find this where its configuration is.
    pub(crate) async fn read(&self, read: Result<(Config, Catalog), Problems>) {
        self.app.as_ref().expect("the gateway is draining already").reload(read).await;
    }

    /// Starts the drain; `hurry` cuts it short. The returned token ends with it.
    pub(crate) fn drain(&mut self, hurry: CancellationToken) -> CancellationToken {
        let app = self.app.take().expect("the gateway is draining already");
        let drained = CancellationToken::new();
        let guard = drained.clone().drop_guard();
        self.tracker.spawn(async move {
            app.drain(hurry.cancelled_owned()).await;
            drop(guard);
        });
        drained
    }

    /// The end of every test: all calls are settled, nothing holds anything, the books agree, no secret was logged, and
    /// the gateway and its Bedrock stop when they are told to.
    pub(crate) async fn finish(mut self) {
        self.finished = true;
        eventually("nothing is in flight", async || {
            let metrics = self.metrics();
            metrics.count("gateway_requests_in_flight", &[]) + metrics.count("gateway_streams_open", &[]) == 0
        })
        .await;
        let keys = self.lock_keys().clone();
        for key in &keys {
            if let Ok(caller) = self.gateway.tenancy().authenticate(Some(key), None).await {
                eventually("no hold is left", async || caller.in_flight() == 0).await;
            }
        }
        let ledger = self.ledger().await;
        Box::pin(books::agree(&ledger, &self.metrics(), &self.sim, self.lost.load(Ordering::Relaxed))).await;
        books::agree_with_budgets(&ledger, self.gateway.tenancy()).await;
        assert_eq!(self.gateway.tenancy().ledger().lost, 0);
        log::assert_without(keys.iter().filter_map(|key| key.rsplit('_').next()));

        if let Some(app) = self.app.take() {
            within(Box::pin(app.drain(std::future::pending()))).await;
        }
        self.tracker.close();
        within(self.tracker.wait()).await;
        assert_eq!(self.journal(), Vec::<String>::new(), "a call was begun and never settled");
        let upstream = std::mem::replace(
            &mut self.upstream,
            Upstream::Tapped { stop: CancellationToken::new(), tracker: TaskTracker::new() },
        );
        match upstream {
            Upstream::Local(local) => within(local.stop()).await,
            Upstream::Tapped { stop, tracker } => {
                stop.cancel();
                tracker.close();
                within(tracker.wait()).await;
            }
        }
    }

    /// The segments of the journal: those in which something is open, once the gateway has stopped.
    fn journal(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.config.store.journal).into_iter().flatten();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".journal")).collect()
    }

    fn lock_keys(&self) -> MutexGuard<'_, Vec<String>> {
        self.keys.lock().unwrap()
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "the test did not end with `finish`");
    }
}

/// A simulator whose Regions are served behind `tap`.
async fn serve_tapped(config: &mut Config, settings: Settings, tap: &Tap) -> (Simulator, Upstream) {
    config.aws.credentials = Some((settings.access_key.clone(), Secret::new(settings.secret_key.clone())));
    let sim = Simulator::new(settings);
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    for region in config.aws.regions.clone() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = config.aws.endpoints.entry(region.clone()).or_default();
        let url = format!("http://{}", listener.local_addr().unwrap());
        endpoint.runtime = Some(url.clone());
        endpoint.control = Some(url.clone());
        endpoint.sts = Some(url);
        let router = tap.between(sim.router_for(&region));
        let stop = stop.clone().cancelled_owned();
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await.unwrap() });
    }
    (sim, Upstream::Tapped { stop, tracker })
}

/// Waits until `condition` holds; fails when it does not come to.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while !condition().await {
            tick.tick().await;
        }
    };
    assert!(timeout(LIMIT, holds).await.is_ok(), "waited in vain until {what}");
}

/// What comes within a bounded time.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("took too long")
}
