//! Who makes up names makes no series: however many different ones come, a scrape stays as long as it was.

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::json;

use crate::support::calls::{chat, turn, with};
use crate::support::reply::Reply;
use crate::support::scrape::Scrape;
use crate::support::{FIRST, TestGateway};

/// Requests of one kind that name something that nobody has, told apart by a number.
type Kind = fn(&TestGateway, usize) -> reqwest::RequestBuilder;

const KINDS: [Kind; 7] = [
    |t, n| t.openai().request().json(&with(chat("hi"), json!({"model": format!("no-such-model-{n}")}))),
    |t, n| t.openai().request().json(&with(chat("hi"), json!({"model": format!("{n}{}", "x".repeat(5_000))}))),
    |t, n| t.bedrock().model(&format!("anthropic.made-up-{n}-v1%3A0")).request("converse").json(&turn("hi")),
    |t, n| {
        let profile = format!("arn:aws:bedrock:{FIRST}:000000000000:application-inference-profile/p{n}");
        t.openai().request().json(&with(chat("hi"), json!({"model": profile})))
    },
    |t, n| {
        let custom = format!("arn:aws:bedrock:made-up-{n}:000000000000:custom-model-deployment/m{n}");
        t.openai().request().json(&with(chat("hi"), json!({"model": custom})))
    },
    |t, n| t.request(Method::GET, &format!("/made/up/{n}")).bearer_auth(t.key()).header("x-team", format!("team-{n}")),
    |t, n| {
        let status = Method::from_bytes(format!("VERB{n}").as_bytes()).unwrap();
        t.request(status, "/v1/models").bearer_auth(format!("bgw_{n}_made-up"))
    },
];

async fn scrape(t: &TestGateway) -> (usize, String) {
    let text = t.ops("/metrics").await.text().to_owned();
    Scrape::parse(&text);
    (text.lines().filter(|line| !line.starts_with('#')).count(), text)
}

async fn attack(t: &TestGateway, numbers: std::ops::Range<usize>) {
    let requests = numbers.flat_map(|n| KINDS.map(|kind| kind(t, n)));
    let replies = stream::iter(requests.map(Reply::to)).buffer_unordered(16);
    let refused = replies.all(|reply| async move { (400..500).contains(&reply.status()) || panic!("{reply:?}") }).await;
    assert!(refused);
}

#[tokio::test]
async fn three_hundred_made_up_names_add_no_series() {
    let t = TestGateway::start().await;
    assert_eq!(t.openai().chat("hello").await.status(), 200);
    // What each kind of refusal adds, it adds once.
    attack(&t, 0..3).await;
    let (before, _) = scrape(&t).await;
    attack(&t, 3..303).await;
    let (after, text) = scrape(&t).await;
    assert!(after <= before + 5, "{before} series became {after}");
    for made_up in ["made-up", "no-such", "team-", "xxx", "p299", "VERB"] {
        assert!(!text.contains(made_up), "{made_up}");
    }
    t.finish().await;
}
