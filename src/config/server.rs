//! `[server]`: the listeners, and what bodies and connections may be.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problems, shape};

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Client APIs, admin API, documents. Port 0: one that is free.
    pub listen: SocketAddr,
    /// Metrics, liveness, readiness: never public. Port 0: one that is free.
    pub ops_listen: SocketAddr,
    /// The largest body of an inference call, in MiB: 1 to 1024.
    pub max_body_mb: u64,
    /// What the bodies of all requests may take of the memory together as they come, in MiB: 0 to 1048576, and not less than
    /// `max_body_mb`, or 0 for an eighth of the memory that the process may have. Reloaded.
    pub max_buffered_mb: u64,
    /// Origins that a browser may call from, exactly; `*` for any. Empty: none. Reloaded.
    pub cors_origins: Vec<String>,
    /// Seconds between `/readyz` saying no, on SIGTERM, and the port taking no more connections, so that load balancers
    /// notice: 0 to 300. Reloaded.
    pub notice_seconds: u64,
    /// Seconds that open streams get to finish after that: 0 to 3600. Reloaded.
    pub drain_seconds: u64,
    /// Seconds that a client may take between two pieces of a request's body, and that the body may fall behind
    /// `body_min_rate`: 1 to 3600. Reloaded.
    pub body_timeout_s: u64,
    /// Bytes a second with which a request's body has to come on average: 0 to 1048576; with 0 any will do. Reloaded.
    pub body_min_rate: u64,
    /// Seconds for which a client may take nothing of its answer: 1 to 3600. Reloaded.
    pub send_timeout_s: u64,
    /// Seconds that a connection is kept open between two requests: 1 to 3600. Reloaded.
    pub keep_alive_s: u64,
    /// Connections of clients at once: 1 to 1000000; 0: what the limit of open files leaves room for.
    pub max_connections: u64,
    /// PEM file with the certificate chain; empty: plain HTTP.
    pub tls_cert: String,
    /// PEM file with the private key; empty: plain HTTP.
    pub tls_key: String,
    /// Networks, or single addresses, whose `X-Forwarded-For` is believed. Reloaded.
    pub trusted_proxies: Vec<String>,
    /// Whether `/docs` and `/openapi.json` need no key. Reloaded.
    pub public_docs: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            ops_listen: (Ipv4Addr::LOCALHOST, 9090).into(),
            max_body_mb: 25,
            max_buffered_mb: 0,
            cors_origins: Vec::new(),
            notice_seconds: 5,
            drain_seconds: 120,
            body_timeout_s: 30,
            body_min_rate: 500,
            send_timeout_s: 60,
            keep_alive_s: 75,
            max_connections: 0,
            tls_cert: String::new(),
            tls_key: String::new(),
            trusted_proxies: Vec::new(),
            public_docs: true,
        }
    }
}

impl Server {
    /// The largest body of an inference call, in bytes.
    pub fn max_body_bytes(&self) -> usize {
        mebibytes(self.max_body_mb)
    }

    /// What all bodies may take together, in bytes; 0: as much as there is room for.
    pub fn max_buffered_bytes(&self) -> usize {
        mebibytes(self.max_buffered_mb)
    }

    /// `trusted_proxies`, read; what is no network, and was told so, is trusted with nothing.
    pub fn proxies(&self) -> impl Iterator<Item = IpNet> {
        self.trusted_proxies.iter().filter_map(|text| shape::network(text).ok())
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.listen == self.ops_listen && self.listen.port() != 0 {
            problems.add("server.ops_listen", "is the same address as server.listen; the ops port is never public");
        }
        problems.add_unless_within("server.max_body_mb", self.max_body_mb, 1, 1024);
        problems.add_unless_within("server.max_buffered_mb", self.max_buffered_mb, 0, 1024 * 1024);
        if (1..self.max_body_mb).contains(&self.max_buffered_mb) {
            problems.add(
                "server.max_buffered_mb",
                "is less than server.max_body_mb: no body of that length could be taken",
            );
        }
        problems.add_unless_within("server.notice_seconds", self.notice_seconds, 0, 300);
        problems.add_unless_within("server.drain_seconds", self.drain_seconds, 0, 3600);
        problems.add_unless_within("server.body_timeout_s", self.body_timeout_s, 1, 3600);
        problems.add_unless_within("server.body_min_rate", self.body_min_rate, 0, 1024 * 1024);
        problems.add_unless_within("server.send_timeout_s", self.send_timeout_s, 1, 3600);
        problems.add_unless_within("server.keep_alive_s", self.keep_alive_s, 1, 3600);
        problems.add_unless_within("server.max_connections", self.max_connections, 0, 1_000_000);
        match (self.tls_cert.is_empty(), self.tls_key.is_empty()) {
            (true, false) => problems.add("server.tls_cert", "is missing, but server.tls_key is set"),
            (false, true) => problems.add("server.tls_key", "is missing, but server.tls_cert is set"),
            _ => {}
        }
        for (index, origin) in self.cors_origins.iter().enumerate() {
            if origin != "*" && !is_origin(origin) {
                let message = format!("{origin:?} is not an origin; write https://HOST[:PORT] or \"*\"");
                problems.add(format!("server.cors_origins[{index}]"), message);
            }
        }
        for (index, text) in self.trusted_proxies.iter().enumerate() {
            if let Err(problem) = shape::network(text) {
                problems.add(format!("server.trusted_proxies[{index}]"), format!("{text:?} {problem}"));
            }
        }
    }
}

fn mebibytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(1024 * 1024)
}

/// A browser sends scheme, host and port, and no slash after them; anything else would never match.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']) && host.bytes().all(|b| b.is_ascii_graphic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_body_has_to_fit_into_what_all_may_take() {
        let found = |max_buffered_mb| {
            let mut problems = Problems::default();
            Server { max_buffered_mb, ..Server::default() }.validate(&mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((found(0), found(25)), (Vec::new(), Vec::new()));
        let problems = found(24);
        assert!(problems.len() == 1 && problems[0].starts_with("server.max_buffered_mb"), "{problems:?}");
        assert_eq!(found(u64::MAX).len(), 1);
    }

    #[test]
    fn proxies_are_networks_or_addresses_and_each_that_is_neither_is_told() {
        let proxies = ["10.0.0.1/8", "192.0.2.1", "::ffff:198.51.100.0/120", "2001:db8::/32", "lb", "0.0.0.0/33"];
        let server = Server { trusted_proxies: proxies.map(str::to_owned).to_vec(), ..Server::default() };
        let read: Vec<String> = server.proxies().map(|network| network.to_string()).collect();
        assert_eq!(read, ["10.0.0.0/8", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"]);
        let mut problems = Problems::default();
        server.validate(&mut problems);
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("server.trusted_proxies[4]") && found[0].contains("\"lb\" is not"), "{found:?}");
    }
}
