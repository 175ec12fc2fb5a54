//! Pictures and documents that are somewhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::calls::{message, with};
use crate::support::site::Site;
use crate::support::{MODEL, TestGateway};

/// One white pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==";
const PDF: &[u8] = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF";

async fn site() -> Site {
    Site::start([("/a.png", STANDARD.decode(PNG).unwrap()), ("/a.pdf", PDF.to_vec()), ("/a.txt", b"hello".to_vec())])
        .await
}

fn pointing(kind: &str, url: &str, model: &str) -> Value {
    let content =
        json!([{"type": kind, "source": {"type": "url", "url": url}}, {"type": "text", "text": "What is this?"}]);
    with(message(""), json!({"model": model, "messages": [{"role": "user", "content": content}]}))
}

#[tokio::test]
async fn what_is_elsewhere_is_fetched_for_claude_and_for_the_others() {
    let site = site().await;
    let t = TestGateway::with(|config| site.allow(config)).await;
    for (kind, path) in [("image", "/a.png"), ("document", "/a.pdf")] {
        for model in [MODEL, "nova-lite"] {
            let reply = t.anthropic().send(&pointing(kind, &site.url(path), model)).await;
            assert_eq!(reply.status(), 200, "{model} {kind}: {reply:?}");
            assert_eq!(
                reply.header("x-gateway-translation"),
                "fetched:messages[0].content[0].source",
                "{model} {kind}"
            );
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn claude_gets_the_bytes_that_were_fetched_in_the_place_of_the_url() {
    let site = site().await;
    let t = TestGateway::tapped(|config| site.allow(config)).await;
    assert_eq!(t.anthropic().send(&pointing("image", &site.url("/a.png"), MODEL)).await.status(), 200);
    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    let source = json!({"type": "base64", "media_type": "image/png", "data": PNG});
    assert_eq!(sent["messages"][0]["content"][0]["source"], source);
    t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_or_is_something_else_is_a_400_that_names_the_url() {
    let site = site().await;
    let t = TestGateway::with(|config| site.allow(config)).await;
    let cases = [
        ("image", site.url("/none.png")),
        ("image", site.url("/a.txt")),
        ("document", site.url("/a.png")),
        ("image", "https://169.254.169.254/latest/meta-data".to_owned()),
        ("image", "file:///etc/passwd".to_owned()),
    ];
    for (kind, url) in cases {
        for model in [MODEL, "nova-lite"] {
            let reply = t.anthropic().send(&pointing(kind, &url, model)).await;
            let error = reply.anthropic_error();
            assert_eq!((reply.status(), &error["type"]), (400, &json!("invalid_request_error")), "{model} {url}");
            let told = error["message"].as_str().unwrap();
            assert!(told.contains("messages[0].content[0].source"), "{model} {url}: {told}");
        }
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_file_kept_by_anthropic_is_refused() {
    let t = TestGateway::start().await;
    for model in [MODEL, "nova-lite"] {
        let content = json!([{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]);
        let body = with(message(""), json!({"model": model, "messages": [{"role": "user", "content": content}]}));
        let reply = t.anthropic().send(&body).await;
        assert_eq!(reply.status(), 400, "{model}");
        assert!(reply.anthropic_error()["message"].as_str().unwrap().contains("source.type"), "{model}");
    }
    t.finish().await;
}
