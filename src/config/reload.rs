//! Which settings a running gateway takes over when the configuration is read again, and which need a restart.
//!
//! Every setting is in one of the two lists of its section: a new one that is in neither does not compile. The doc comment
//! of a setting that is taken over ends with "Reloaded.", which a test holds.

use super::{Auth, Aws, Batch, Config, Fetch, Idempotency, Ledger, Responses, Server, Shared, Store, Telemetry};

macro_rules! sections {
    ($($section:ident: $type:ident { reloaded: [$($reloaded:ident),*], fixed: [$($fixed:ident),*] })*) => {
        /// The settings that are taken over, by their paths.
        pub const RELOADED: &[&str] =
            &["models", $($(concat!(stringify!($section), ".", stringify!($reloaded)),)*)*];

        /// The settings that differ from those that a gateway was started with and need a restart to count.
        pub fn needing_restart(started: &Config, read: &Config) -> Vec<&'static str> {
            let Config { models: _, $($section,)* } = started;
            let mut found = Vec::new();
            $({
                let $type { $($reloaded: _,)* $($fixed,)* } = $section;
                $(if *$fixed != read.$section.$fixed {
                    found.push(concat!(stringify!($section), ".", stringify!($fixed)));
                })*
            })*
            found
        }

        /// What a gateway that was started with `started` goes on with when it has read `read`.
        #[must_use]
        pub fn taken_over(started: &Config, read: &Config) -> Config {
            let mut config = started.clone();
            config.models.clone_from(&read.models);
            $($(config.$section.$reloaded.clone_from(&read.$section.$reloaded);)*)*
            config
        }
    };
}

sections! {
    server: Server {
        reloaded: [
            max_buffered_mb, cors_origins, notice_seconds, drain_seconds, body_timeout_s, body_min_rate, send_timeout_s,
            keep_alive_s, trusted_proxies, public_docs
        ],
        fixed: [listen, ops_listen, max_body_mb, max_connections, tls_cert, tls_key]
    }
    store: Store { reloaded: [], fixed: [url, journal] }
    ledger: Ledger { reloaded: [], fixed: [retention_days, audit_retention_days] }
    idempotency: Idempotency { reloaded: [], fixed: [retention_hours, max_answer_kb, memory_mb] }
    responses: Responses { reloaded: [], fixed: [store, retention_hours] }
    shared: Shared { reloaded: [], fixed: [url, on_failure, lease_seconds] }
    aws: Aws {
        reloaded: [
            regions, order, max_attempts, connect_timeout_ms, first_byte_timeout_s, idle_timeout_s, call_timeout_s,
            hedge_after_ms, quotas, endpoints
        ],
        fixed: [role_arn, catalog_refresh_minutes, bearer_token, credentials]
    }
    fetch: Fetch { reloaded: [], fixed: [enabled, max_mb, timeout_s, allow_networks, extra_ca] }
    batch: Batch {
        reloaded: [],
        fixed: [
            bucket, prefix, role_arn, poll_seconds, small_batches, retention_hours, max_file_mb, team_storage_mb,
            max_inline_mb, native_tools, limits
        ]
    }
    auth: Auth { reloaded: [admin_key_sha256, jwt], fixed: [sealing_key] }
    telemetry: Telemetry { reloaded: [log], fixed: [otlp_endpoint, otlp_headers, trace_sample, capture, otel] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Alias;

    #[test]
    fn what_is_reloaded_is_taken_over_and_the_rest_is_named() {
        let started = Config::default();
        let models = vec![Alias { alias: "fast".into(), ..Alias::default() }];
        let mut read = Config { models, ..Config::default() };
        read.aws.regions = vec!["eu-west-1".into()];
        read.server.max_body_mb = 7;
        read.store.url = "sqlite://other.db".into();
        assert_eq!(needing_restart(&started, &read), ["server.max_body_mb", "store.url"]);
        let taken = taken_over(&started, &read);
        assert_eq!((&taken.models, &taken.aws.regions), (&read.models, &read.aws.regions));
        assert_eq!((&taken.server, &taken.store), (&started.server, &started.store));
        assert_eq!(needing_restart(&started, &taken), Vec::<&str>::new());
    }

    #[test]
    fn the_documentation_of_a_setting_says_whether_it_is_reloaded() {
        let sources = [
            ("server", include_str!("server.rs"), "pub struct Server {"),
            ("store", include_str!("store.rs"), "pub struct Store {"),
            ("ledger", include_str!("ledger.rs"), "pub struct Ledger {"),
            ("idempotency", include_str!("idempotency.rs"), "pub struct Idempotency {"),
            ("responses", include_str!("responses.rs"), "pub struct Responses {"),
            ("shared", include_str!("shared.rs"), "pub struct Shared {"),
            ("aws", include_str!("aws.rs"), "pub struct Aws {"),
            ("fetch", include_str!("fetch.rs"), "pub struct Fetch {"),
            ("batch", include_str!("batch.rs"), "pub struct Batch {"),
            ("auth", include_str!("auth.rs"), "pub struct Auth {"),
            ("telemetry", include_str!("telemetry.rs"), "pub struct Telemetry {"),
        ];
        let mut said = vec!["models".to_owned()];
        for (section, source, head) in sources {
            let body = source.split(head).nth(1).unwrap().split("\n}").next().unwrap();
            let mut last = "";
            for line in body.lines().map(str::trim) {
                if let Some(field) = line.strip_prefix("pub ").and_then(|rest| rest.split(':').next())
                    && last.ends_with("Reloaded.")
                {
                    said.push(format!("{section}.{field}"));
                }
                if !line.starts_with('#') {
                    last = line;
                }
            }
        }
        said.sort();
        let mut reloaded = RELOADED.to_vec();
        reloaded.sort_unstable();
        assert_eq!(said, reloaded);
        let alias = include_str!("alias.rs");
        assert!(alias.lines().any(|line| line.starts_with("/// `[[models]]`") && line.ends_with(" Reloaded.")));
    }
}
