//! `[fetch]`: what may be fetched on behalf of a caller, and how much of it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// `[fetch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fetch {
    /// Whether pictures and documents that a request names by `https://` URL are fetched; false: such a request is refused.
    /// Only public addresses are reached, whatever a name resolves to and wherever a redirect leads.
    pub enabled: bool,
    /// The largest file, in MiB: 1 to 1024. All files of one request together: `server.max_body_mb`.
    pub max_mb: u64,
    /// Seconds for one file, redirects included: 1 to 300.
    pub timeout_s: u64,
    /// Networks (CIDR) that are reached although they are not public, such as `10.1.2.0/24` with a file server in it.
    pub allow_networks: Vec<String>,
    /// PEM file of certificate authorities to trust besides the system's; empty: those alone.
    pub extra_ca: String,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { enabled: true, max_mb: 20, timeout_s: 20, allow_networks: Vec::new(), extra_ca: String::new() }
    }
}

impl Fetch {
    /// The largest file, in bytes.
    pub fn max_bytes(&self) -> usize {
        usize::try_from(self.max_mb).unwrap_or(usize::MAX).saturating_mul(1024 * 1024)
    }

    /// `allow_networks`, read; what is no network, and was told so, allows nothing.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.allow_networks.iter().filter_map(|text| text.parse().ok())
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.add_unless_within("fetch.max_mb", self.max_mb, 1, 1024);
        problems.add_unless_within("fetch.timeout_s", self.timeout_s, 1, 300);
        for (index, text) in self.allow_networks.iter().enumerate() {
            if text.parse::<IpNet>().is_err() {
                let message = format!("{text:?} is not a network; one looks like \"10.1.2.0/24\" or \"fd00:1::/32\"");
                problems.add(format!("fetch.allow_networks[{index}]"), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_no_network_is_told() {
        let fetch = Fetch {
            max_mb: 0,
            timeout_s: 301,
            allow_networks: ["10.1.2.0/24", "10.1.2.3", "fd00:1::/32", "10.0.0.0/33"].map(String::from).to_vec(),
            ..Fetch::default()
        };
        let mut problems = Problems::default();
        fetch.validate(&mut problems);
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["fetch.max_mb", "fetch.timeout_s", "fetch.allow_networks[1]", "fetch.allow_networks[3]"]);
        let networks: Vec<_> = fetch.networks().map(|network| network.to_string()).collect();
        assert_eq!(networks, ["10.1.2.0/24", "fd00:1::/32"]);
    }
}
