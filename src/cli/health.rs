//! `health`: whether the gateway beside this program takes requests, for container engines: the image has no shell and no
//! other client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::{ConfigFile, Failure, print};
use crate::client::answers;

/// Tell by the exit code whether the gateway on this machine takes requests.
///
/// It asks `/readyz` on the ops port (`server.ops_listen`): exit code 0 for a good answer within three seconds, else 1.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// What to ask instead, such as `http://127.0.0.1:4567/_sim/faults` of a simulator.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Health {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // Problems of a file that changed do not stop the gateway that runs, so they are not its illness either.
        let url = self.url.unwrap_or_else(|| readiness(self.config.read().0.server.ops_listen));
        answers(&url).await?;
        print(&"healthy")
    }
}

/// Where a gateway with this ops address says on its own machine whether it is ready.
fn readiness(mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}/readyz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:9090", "http://127.0.0.1:9090/readyz"),
            ("[::]:9090", "http://[::1]:9090/readyz"),
            ("10.0.0.7:9191", "http://10.0.0.7:9191/readyz"),
        ] {
            assert_eq!(readiness(listens.parse().unwrap()), asked);
        }
    }
}
