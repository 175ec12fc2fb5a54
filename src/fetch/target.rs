//! Which URLs are asked for: judged before the first request and again at every redirect. Pure.
//!
//! A host that is an address is judged here, because the client asks no name lookup about it; the `url` crate has read
//! it by then in whatever way it was written (<https://url.spec.whatwg.org/#concept-ipv4-parser>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::failure::Failure;
use super::guard::Guard;

/// Longer than any server is sure to take (<https://www.rfc-editor.org/rfc/rfc9110#section-4.1-5>).
const MAX_URL: usize = 8_192;

/// The URL that a caller wrote.
pub(super) fn parse(text: &str, guard: &Guard) -> Result<Url, Failure> {
    if text.len() > MAX_URL {
        return Err(Failure::LongUrl(MAX_URL));
    }
    judge(Url::parse(text), guard)
}

/// The URL that the answer from `from` points to.
pub(super) fn join(from: &Url, location: &str, guard: &Guard) -> Result<Url, Failure> {
    if location.len() > MAX_URL {
        return Err(Failure::LongUrl(MAX_URL));
    }
    judge(from.join(location), guard)
}

/// The URL of who is to be told something: https, or http on this machine where the guard permits that.
pub(super) fn receiver(text: &str, guard: &Guard) -> Result<Url, Failure> {
    if text.len() > MAX_URL {
        return Err(Failure::LongUrl(MAX_URL));
    }
    let mut url = Url::parse(text).map_err(|_| Failure::NotAUrl)?;
    if url.scheme() != "http" {
        return judge(Ok(url), guard).map_err(|failure| match failure {
            Failure::NotHttps => Failure::NotCalled,
            other => other,
        });
    }
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => is_this_machine(name),
        None => false,
    };
    // The scheme of a web page cannot be changed to that of another kind of place, and this is none.
    let is_changed = url.set_scheme("https").is_ok();
    if !is_here || !is_changed {
        return Err(Failure::NotCalled);
    }
    judge(Ok(url), guard)?;
    Url::parse(text).map_err(|_| Failure::NotAUrl)
}

fn judge(url: Result<Url, url::ParseError>, guard: &Guard) -> Result<Url, Failure> {
    let url = url.map_err(|_| Failure::NotAUrl)?;
    if url.scheme() != "https" {
        return Err(Failure::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::Credentials);
    }
    // Below 1024 are services that speak other protocols: mail, file shares.
    if let Some(port) = url.port().filter(|port| *port < 1024) {
        return Err(Failure::Port(port));
    }
    let permitted = match url.host() {
        Some(Host::Ipv4(address)) => guard.permits(address.into()),
        Some(Host::Ipv6(address)) => guard.permits(address.into()),
        Some(Host::Domain(name)) => !is_this_machine(name) || permits_loopback(guard),
        None => return Err(Failure::NotAUrl),
    };
    if permitted { Ok(url) } else { Err(Failure::NotPublic) }
}

/// Whether the name stands for this machine whatever a lookup says (<https://www.rfc-editor.org/rfc/rfc6761#section-6.3>).
fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn permits_loopback(guard: &Guard) -> bool {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into_iter().any(|own| guard.permits(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str, guard: &Guard) -> String {
        parse(url, guard).map_or_else(|failure| failure.to_string(), |url| url.to_string())
    }

    #[test]
    fn an_address_is_seen_through_every_way_to_write_it() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0",
            "%31%32%37.0.0.1",
            "127.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "169.254.169.254",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "10.0.0.1",
            "[64:ff9b::a00:1]",
            "[2002:a00:1::]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "a.localhost.",
            "localhost",
            "127.0.0.1:8443",
        ] {
            assert_eq!(told(&format!("https://{host}/a"), &Guard::default()), "the address is not public", "{host}");
        }
    }

    #[test]
    fn names_and_public_addresses_pass() {
        for url in [
            "https://example.com/a.png?b=c",
            "https://example.com:8443/",
            "https://1.1.1.1/",
            "https://[2606:4700::1111]/",
            "https://localhost.example.com/",
            "https://notlocalhost/",
        ] {
            assert_eq!(told(url, &Guard::default()), url);
        }
    }

    #[test]
    fn what_is_no_https_url_says_why() {
        for (url, why) in [
            ("picture.png", "it is not a URL such as https://example.com/picture.png"),
            ("https://", "it is not a URL such as https://example.com/picture.png"),
            ("https://256.0.0.1/", "it is not a URL such as https://example.com/picture.png"),
            ("https://[fe80::1%25eth0]/", "it is not a URL such as https://example.com/picture.png"),
            ("http://example.com/", "only https:// is fetched"),
            ("file:///etc/passwd", "only https:// is fetched"),
            ("ftp://example.com/", "only https:// is fetched"),
            ("gopher://example.com/", "only https:// is fetched"),
            ("data:image/png;base64,AA==", "only https:// is fetched"),
            ("https://user@example.com/", "it holds a user name or password, which is not sent"),
            ("https://:secret@example.com/", "it holds a user name or password, which is not sent"),
            ("https://example.com@10.0.0.1/", "it holds a user name or password, which is not sent"),
            ("https://example.com:25/", "port 25 is not called; 443 and those above 1023 are"),
            ("https://example.com:0/", "port 0 is not called; 443 and those above 1023 are"),
        ] {
            assert_eq!(told(url, &Guard::default()), why, "{url}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        assert_eq!(told(&long, &Guard::default()), "it is longer than 8192 characters");
    }

    #[test]
    fn where_a_redirect_leads_is_judged_alike() {
        let from = Url::parse("https://example.com/a/b").unwrap();
        let told = |location: &str| {
            let joined = join(&from, location, &Guard::default());
            joined.map_or_else(|failure| failure.to_string(), |url| url.to_string())
        };
        assert_eq!(told("c"), "https://example.com/a/c");
        assert_eq!(told("//other.example/"), "https://other.example/");
        assert_eq!(told("//2130706433/"), "the address is not public");
        assert_eq!(told("http://example.com/"), "only https:// is fetched");
        assert_eq!(told("javascript:alert(1)"), "only https:// is fetched");
        assert_eq!(told("https://a:b@example.com/"), "it holds a user name or password, which is not sent");
    }

    #[test]
    fn who_is_told_something_is_called_over_https_or_on_this_machine_where_that_is_allowed() {
        let told = |url: &str, guard: &Guard| {
            receiver(url, guard).map_or_else(|failure| failure.to_string(), |url| url.to_string())
        };
        let allowed = Guard::new(["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        for url in ["https://example.com/hook", "http://localhost:8080/hook", "http://127.0.0.1:8080/"] {
            assert_eq!(told(url, &allowed), url);
        }
        for url in ["http://localhost:8080/", "http://127.0.0.1:8080/", "https://10.0.0.1/", "https://localhost/"] {
            assert_eq!(told(url, &Guard::default()), "the address is not public", "{url}");
        }
        let only = Failure::NotCalled.to_string();
        for url in ["http://example.com/", "http://10.0.0.1/", "ftp://localhost/", "file:///etc/passwd"] {
            assert_eq!(told(url, &allowed), only, "{url}");
        }
        assert_eq!(told("http://a:b@localhost:8080/", &allowed), "it holds a user name or password, which is not sent");
        assert_eq!(told("http://localhost:25/", &allowed), "port 25 is not called; 443 and those above 1023 are");
        assert_eq!(told("hook", &allowed), Failure::NotAUrl.to_string());
    }

    #[test]
    fn this_machine_passes_when_it_is_allowed() {
        for network in ["127.0.0.0/8", "::1/128"] {
            let guard = Guard::new([network.parse().unwrap()]);
            assert_eq!(told("https://localhost:8443/", &guard), "https://localhost:8443/");
        }
        let guard = Guard::new(["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(told("https://127.1:8443/", &guard), "https://127.0.0.1:8443/");
        assert_eq!(told("https://[::1]:8443/", &guard), "the address is not public");
    }
}
