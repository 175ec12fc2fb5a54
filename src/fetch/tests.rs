//! Fetching over the wire, from a server that plays by no rules.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;

use reqwest::dns::{Addrs, Name, Resolving};

use super::testing::{Answer, Site, Trap, file, status};
use super::*;

const MB: usize = 1024 * 1024;

/// Names that stand for other addresses each time they are looked up; the last ones stay.
#[derive(Default)]
struct Fickle(Mutex<HashMap<&'static str, VecDeque<&'static [&'static str]>>>);

impl Fickle {
    fn new<const N: usize>(names: [(&'static str, &[&'static [&'static str]]); N]) -> Arc<Self> {
        let answers = names.into_iter().map(|(name, answers)| (name, answers.iter().copied().collect()));
        Arc::new(Self(Mutex::new(answers.collect())))
    }
}

impl Resolve for Fickle {
    fn resolve(&self, name: Name) -> Resolving {
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(name.as_str()).unwrap();
        let now = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
        let addresses: Vec<_> = now.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(Box::new(addresses.into_iter()) as Addrs) })
    }
}

fn fetcher(settings: &config::Fetch) -> Fetcher {
    Fetcher::new(settings, 25 * MB).unwrap()
}

async fn refusal(fetcher: &Fetcher, url: &str) -> String {
    let error = fetcher.fetch(url).await.unwrap_err();
    assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, None), "{error:?}");
    let why = error.message().strip_prefix("This URL could not be fetched: ").and_then(|rest| rest.strip_suffix('.'));
    why.unwrap_or_else(|| panic!("{error:?}")).to_owned()
}

#[tokio::test]
async fn a_file_arrives_as_it_is_and_the_server_learns_nothing_but_the_url() {
    let site = Site::start(|_, _| async { file([0, 159, 146, 150]) }).await;
    let fetched = site.fetcher().fetch(&site.url("/a.png?sig=1#part")).await.unwrap();
    assert_eq!(fetched.bytes, &[0, 159, 146, 150][..]);
    assert_eq!(fetched.media_type.as_deref(), Some("image/png"));
    let [head] = <[String; 1]>::try_from(site.asked()).unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /a.png?sig=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: localhost:{}", site.port);
    let agent = format!("user-agent: {USER_AGENT}");
    assert_eq!(lines, ["accept-encoding: identity", "accept: */*", &host, &agent]);
}

#[tokio::test]
async fn an_address_and_a_name_are_fetched_alike() {
    let site = Site::start(|_, _| async { file("x") }).await;
    let fetcher = site.fetcher();
    for host in ["127.0.0.1", "0x7f.1", "localhost", "LOCALHOST"] {
        let url = format!("https://{host}:{}/", site.port);
        assert_eq!(fetcher.fetch(&url).await.unwrap().bytes, "x", "{host}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let site = Site::start(|path, port| async move {
        match path.as_str() {
            "/4" => status(301, &format!("location: https://127.0.0.1:{port}/3")),
            "/3" => status(302, "location: /2"),
            "/2" => status(307, "location: 1?a=b"),
            "/1?a=b" => status(308, "location: //localhost/"),
            "/round" => status(303, "location: /round"),
            _ => file(path),
        }
    })
    .await;
    let fetcher = site.fetcher();
    assert_eq!(fetcher.fetch(&site.url("/x")).await.unwrap().bytes, "/x");
    assert_eq!(refusal(&fetcher, &site.url("/round")).await, "it redirects more than 3 times");
    assert_eq!(refusal(&fetcher, &site.url("/4")).await, "it redirects more than 3 times");
    let paths = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
    let paths: Vec<_> = site.asked().iter().map(paths).collect();
    assert_eq!(paths, ["/x", "/round", "/round", "/round", "/round", "/4", "/3", "/2", "/1?a=b"]);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_a_caller_could_not_point_to() {
    let site = Site::start(|path, _| async move { status(302, &format!("location: {}", &path[1..])) }).await;
    let fetcher = site.fetcher();
    for (location, why) in [
        ("https://10.0.0.1/", "the address is not public"),
        ("https://169.254.169.254/latest/meta-data/", "the address is not public"),
        ("https://[::ffff:169.254.169.254]/", "the address is not public"),
        ("//0xa9fea9fe/", "the address is not public"),
        ("http://example.com/", "only https:// is fetched"),
        ("file:///etc/passwd", "only https:// is fetched"),
        ("https://a:b@example.com/", "it holds a user name or password, which is not sent"),
        ("https://example.com:22/", "port 22 is not called; 443 and those above 1023 are"),
    ] {
        let told = refusal(&fetcher, &site.url(&format!("/{location}"))).await;
        assert_eq!(told, format!("it redirects, and {why}"), "{location}");
    }
}

#[tokio::test]
async fn without_leave_nothing_connects_to_this_machine() {
    let trap = Trap::set().await;
    let fetcher = fetcher(&config::Fetch::default());
    for host in ["localhost", "localhost.", "127.0.0.1", "127.1", "[::ffff:127.0.0.1]"] {
        let told = refusal(&fetcher, &format!("https://{host}:{}/", trap.port())).await;
        assert_eq!(told, "the address is not public", "{host}");
    }
    assert!(!trap.caught());
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_stands_for() {
    let trap = Trap::set().await;
    let mut fetcher = fetcher(&config::Fetch::default());
    let inside: &[&[&str]] = &[&["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"]];
    fetcher.lookup = Fickle::new([("files.test", inside), ("nowhere.test", &[&[]])]);
    for name in ["files.test", "nowhere.test"] {
        let told = refusal(&fetcher, &format!("https://{name}:{}/", trap.port())).await;
        assert_eq!(told, "the address is not public", "{name}");
    }
    assert!(!trap.caught());
}

#[tokio::test]
async fn of_several_addresses_only_those_permitted_are_tried() {
    let trap = Trap::set().await;
    let site = Site::start(|_, _| async { file("x") }).await;
    let settings = config::Fetch { allow_networks: vec!["127.0.0.1/32".into()], ..site.settings() };
    let mut fetcher = fetcher(&settings);
    fetcher.lookup = Fickle::new([("files.test", &[&["127.0.0.2", "::1", "127.0.0.1"]])]);
    let url = format!("https://files.test:{}/", site.port);
    assert_eq!(fetcher.fetch(&url).await.unwrap().bytes, "x");
    fetcher.lookup = Fickle::new([("files.test", &[&["127.0.0.2", "::1"]])]);
    fetcher.client = OnceLock::new();
    assert_eq!(refusal(&fetcher, &url).await, "the address is not public");
    assert!(!trap.caught());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_each_time() {
    let site = Site::start(|path, port| async move {
        if path == "/once" { file("x") } else { status(302, &format!("location: https://files.test:{port}/once")) }
    })
    .await;
    let mut fetcher = site.fetcher();
    let rebinding: &[&[&str]] = &[&["127.0.0.1"], &["127.0.0.1"], &["10.0.0.1"]];
    fetcher.lookup = Fickle::new([("files.test", rebinding), ("other.test", &[&["127.0.0.1"]])]);
    let url = |name: &str, path: &str| format!("https://{name}:{}{path}", site.port);
    assert_eq!(fetcher.fetch(&url("files.test", "/once")).await.unwrap().bytes, "x");
    assert_eq!(fetcher.fetch(&url("other.test", "/")).await.unwrap().bytes, "x");
    assert_eq!(refusal(&fetcher, &url("files.test", "/once")).await, "the address is not public");
    let told = refusal(&fetcher, &url("other.test", "/")).await;
    assert_eq!(told, "it redirects, and the address is not public");
}

#[tokio::test]
async fn a_file_may_be_as_large_as_allowed_and_no_larger() {
    let site = Site::start(|path, _| async move {
        let length = if path.contains("over") { MB + 1 } else { MB };
        let body = vec![7; length];
        match path.split('-').nth(1).unwrap() {
            "announced" => file(body),
            "chunked" => {
                let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n");
                Answer::Whole([head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat())
            }
            _ => Answer::Whole([&b"HTTP/1.0 200 OK\r\n\r\n"[..], &body].concat()),
        }
    })
    .await;
    let fetcher = fetcher(&config::Fetch { max_mb: 1, ..site.settings() });
    for way in ["announced", "chunked", "unannounced"] {
        let whole = fetcher.fetch(&site.url(&format!("/within-{way}"))).await.unwrap();
        assert_eq!(whole.bytes.len(), MB, "{way}");
        assert_eq!(refusal(&fetcher, &site.url(&format!("/over-{way}"))).await, "it is larger than 1 MB", "{way}");
    }
}

#[tokio::test]
async fn a_file_that_is_announced_too_large_is_not_waited_for() {
    let site = Site::start(|path, _| async move {
        Answer::Unfinished(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", &path[1..]).into_bytes())
    })
    .await;
    let fetcher = site.fetcher();
    for length in ["20971521", "9000000000000000000"] {
        assert_eq!(refusal(&fetcher, &site.url(&format!("/{length}"))).await, "it is larger than 20 MB");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_cut_at_the_limit() {
    let site = Site::start(|_, _| async {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = [&b"1000\r\n"[..], &[7; 4_096], b"\r\n"].concat();
        Answer::Unfinished([&head[..], &chunk.repeat(257)].concat())
    })
    .await;
    let fetcher = fetcher(&config::Fetch { max_mb: 1, ..site.settings() });
    assert_eq!(refusal(&fetcher, &site.url("/")).await, "it is larger than 1 MB");
}

#[tokio::test]
async fn what_is_compressed_is_refused_whatever_it_is_compressed_with() {
    let site = Site::start(|path, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-encoding: {}\r\n\r\nx", &path[1..]);
        Answer::Whole(head.into_bytes())
    })
    .await;
    let fetcher = site.fetcher();
    for coding in ["gzip", "br", "identity,gzip"] {
        let told = refusal(&fetcher, &site.url(&format!("/{coding}"))).await;
        assert_eq!(told, "the answer is compressed, which was not asked for", "{coding}");
    }
    assert_eq!(fetcher.fetch(&site.url("/Identity")).await.unwrap().bytes, "x");
}

#[tokio::test]
async fn a_body_or_a_head_that_does_not_come_ends_in_time() {
    let site = Site::start(|path, _| async move {
        let head = if path == "/body" { "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc" } else { "" };
        Answer::Unfinished(head.into())
    })
    .await;
    let mut fetcher = site.fetcher();
    fetcher.timeout = Duration::from_millis(500);
    for path in ["/body", "/head"] {
        assert_eq!(refusal(&fetcher, &site.url(path)).await, "it took longer than 0.5 s", "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_file_is_told_by_its_status_alone() {
    let site = Site::start(|path, _| async move {
        let head = format!("HTTP/1.1 {} Told\r\ncontent-length: 11\r\n\r\n", &path[1..]);
        Answer::Whole([head.as_bytes(), b"secret page"].concat())
    })
    .await;
    let fetcher = site.fetcher();
    for code in [201, 206, 300, 302, 401, 404, 500] {
        assert_eq!(refusal(&fetcher, &site.url(&format!("/{code}"))).await, format!("the server answered {code}"));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_told() {
    let site = Site::start(|path, _| async move {
        Answer::Whole(match path.as_str() {
            "/long" => b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n".to_vec(),
            "/heads" => [&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(100_000)].concat(),
            path => path.into(),
        })
    })
    .await;
    for path in ["/", "/long", "/heads", "/220%20mail.example%20ESMTP"] {
        let told = refusal(&site.fetcher(), &site.url(path)).await;
        assert_eq!(told, "the server gave no answer that can be read", "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_file() {
    let site =
        Site::start(|_, _| async { Answer::Whole(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc".to_vec()) }).await;
    assert_eq!(refusal(&site.fetcher(), &site.url("/")).await, "the answer broke off");
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_gets_no_request() {
    let site = Site::start(|_, _| async { file("x") }).await;
    let other = Site::start(|_, _| async { file("x") }).await;
    let url = site.url("/?signature=hunter2");
    let error = other.fetcher().fetch(&url).await.unwrap_err();
    assert_eq!(error.message(), "This URL could not be fetched: the server could not be reached over https.");
    assert!(error.causes().contains("certificate") && !error.causes().contains("hunter2"), "{}", error.causes());
    assert_eq!(site.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn switched_off_nothing_is_fetched() {
    let site = Site::start(|_, _| async { file("x") }).await;
    let fetcher = fetcher(&config::Fetch { enabled: false, ..site.settings() });
    let error = fetcher.fetch(&site.url("/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(site.asked(), Vec::<String>::new());
}

#[test]
fn authorities_that_cannot_be_used_are_told_at_the_start() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, text) in [("empty", ""), ("no.pem", "no pem"), ("bad.pem", pem), ("cut.pem", &pem[..30])] {
        std::fs::write(path(name), text).unwrap();
    }
    for name in ["missing", "empty", "no.pem", "bad.pem", "cut.pem"] {
        let settings = config::Fetch { extra_ca: path(name), ..config::Fetch::default() };
        let error = Fetcher::new(&settings, MB).unwrap_err();
        assert_eq!(error.blamed(), Some("fetch.extra_ca"), "{name}");
        assert!(error.message().contains(&path(name)), "{error}");
    }
}
