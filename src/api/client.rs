//! Whose address a request comes from: the peer's of the connection, or, behind proxies that are trusted, the one that
//! they name in `X-Forwarded-For`.
//!
//! Each proxy adds the address that it was called from at the end, and whatever stands before it came from there and may
//! be made up. So the list is read from its end, and no further than who wrote it is trusted. Invariant: nobody can
//! choose the address that counts without an address in `server.trusted_proxies`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;

use crate::config::Server;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word counts. A cheap clone.
#[derive(Clone, Debug)]
pub(super) struct Proxies(Arc<[IpNet]>);

impl Proxies {
    pub(super) fn new(server: &Server) -> Self {
        Self(server.proxies().collect())
    }

    /// The client's address; none when the request came by no connection. One of IPv4 is always written as such.
    pub(super) fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(self.behind(peer.ip().to_canonical(), headers))
    }

    /// The first address from the end that is no trusted proxy's. What cannot be read ends the list: then it is the
    /// address of the proxy that wrote so.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if !self.trusts(client) {
            return client;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            let Some(address) = address(hop) else { return client };
            client = address;
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address as proxies write it: alone, or with a port, or in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())).or_else(bare)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn behind(proxies: &[&str], peer: &str, lines: &[&[u8]]) -> String {
        let proxies = Proxies(proxies.iter().map(|text| text.parse().unwrap()).collect());
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap());
        let headers = lines.map(|line| (http::HeaderName::from_static(FORWARDED_FOR), line)).collect();
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo::<SocketAddr>((peer.parse::<IpAddr>().unwrap(), 1234).into()));
        proxies.client(&extensions, &headers).unwrap().to_string()
    }

    #[test]
    fn without_trusted_proxies_the_header_says_nothing() {
        assert_eq!(behind(&[], "192.0.2.1", &[b"203.0.113.7"]), "192.0.2.1");
        assert_eq!(behind(&["10.0.0.0/8"], "192.0.2.1", &[b"203.0.113.7"]), "192.0.2.1");
        assert_eq!(behind(&[], "::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn the_list_is_read_from_its_end_through_trusted_proxies_alone() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        let behind = |lines: &[&[u8]]| behind(&trusted, "10.0.0.1", lines);
        assert_eq!(behind(&[b"203.0.113.7"]), "203.0.113.7");
        assert_eq!(behind(&[b"1.1.1.1, 203.0.113.7"]), "203.0.113.7", "what the client made up is not believed");
        assert_eq!(behind(&[b"1.1.1.1, 203.0.113.7, 10.9.9.9,fd00::1"]), "203.0.113.7");
        assert_eq!(behind(&[b"1.1.1.1", b"203.0.113.7", b"10.9.9.9"]), "203.0.113.7", "several lines are one list");
        assert_eq!(behind(&[b"10.0.0.3, 10.0.0.2"]), "10.0.0.3", "the farthest, where all are trusted");
        assert_eq!(behind(&[]), "10.0.0.1");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them_and_garbage_ends_the_list() {
        let behind = |line: &[u8]| behind(&["10.0.0.0/8"], "10.0.0.1", &[line]);
        assert_eq!(behind(b" 203.0.113.7:4711 "), "203.0.113.7");
        assert_eq!(behind(b"[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(behind(b"[2001:db8::1]"), "2001:db8::1");
        assert_eq!(behind(b"::ffff:203.0.113.7"), "203.0.113.7");
        for garbage in [
            &b""[..],
            b"unknown",
            b",",
            b"203.0.113.7, _hidden",
            b"203.0.113.7, \xff",
            b"256.1.1.1",
            b"1.1.1.1 2.2.2.2",
        ] {
            assert_eq!(behind(garbage), "10.0.0.1", "{garbage:?}");
        }
        assert_eq!(behind(b"203.0.113.7, nonsense, 10.0.0.5"), "10.0.0.5");
    }

    #[test]
    fn who_came_by_no_connection_has_no_address() {
        assert!(Proxies(Arc::default()).client(&Extensions::new(), &HeaderMap::new()).is_none());
    }

    proptest! {
        #[test]
        fn nothing_that_stands_before_the_last_hop_changes_the_address(made_up in "[ -~]{0,60}") {
            let line = format!("{made_up},203.0.113.7");
            prop_assert_eq!(behind(&["10.0.0.0/8"], "10.0.0.1", &[line.as_bytes()]), "203.0.113.7");
        }

        #[test]
        fn any_header_gives_an_address(line in prop::collection::vec(0x20_u8..0x7f, 0..80)) {
            behind(&["0.0.0.0/0"], "10.0.0.1", &[&line]).parse::<IpAddr>().unwrap();
        }
    }
}
