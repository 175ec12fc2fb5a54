//! Another configuration for a gateway that serves. Everything that can fail is prepared first; then one value is replaced.
//! Invariant: what is refused changes nothing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serving::{Extras, Serving, Switch};
use crate::api::ops::Reading;
use crate::catalog::{Catalog, Quotas};
use crate::config::{self, Config, Problems};
use crate::error::{Error, Result};
use crate::fetch::Documents;
use crate::gateway::{Changes, Gateway, Guests};
use crate::issuers::Issuers;
use crate::refresh::Refresher;
use crate::telemetry::Filter;
use crate::tenancy::Administrators;

/// What takes over another configuration.
pub(super) struct Reloader {
    /// What the gateway was started with: of settings that need a restart this counts.
    pub(super) started: Config,
    pub(super) switch: Switch,
    pub(super) extras: Extras,
    pub(super) refresher: Refresher,
    pub(super) reading: Reading,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Held during a change: there is one at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
}

/// What came of settings that can be used.
#[derive(Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Outcome {
    Applied,
    /// They are in force already, as far as they can be without a restart.
    Unchanged,
}

impl Reloader {
    /// Takes over what was read, or says why not; in the log, the metrics and on the ops port.
    pub(super) async fn reload(&self, read: Result<(Config, Catalog), Problems>) {
        let _changing = self.changing.lock().await;
        let now = self.switch.now();
        let applied = match read {
            Ok((config, catalog)) => self.apply(&now, &config, catalog).await.map_err(|error| told(&error)),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        };
        let (at, metrics) = (now.gateway.clock().now(), now.gateway.metrics());
        match applied {
            Ok((outcome, needing_restart)) => {
                metrics.config_reload(outcome.into());
                tracing::info!(result = <&str>::from(outcome), "the configuration was read again");
                for setting in &needing_restart {
                    tracing::warn!(setting, "this setting has changed and needs a restart");
                }
                metrics.config_read(at);
                self.reading.applied(at, needing_restart);
            }
            Err(problems) => {
                metrics.config_reload("refused");
                for problem in &problems {
                    tracing::error!(
                        problem,
                        "the configuration was read again and cannot be used; the one before goes on"
                    );
                }
                self.reading.refused(at, problems);
            }
        }
    }

    /// Changes to `read`, as far as it can be taken over, and names the settings that need a restart.
    async fn apply(&self, now: &Arc<Serving>, read: &Config, catalog: Catalog) -> Result<(Outcome, Vec<&'static str>)> {
        let config = config::taken_over(&self.started, read);
        let needing_restart = config::needing_restart(&self.started, read);
        if config == now.config {
            return Ok((Outcome::Unchanged, needing_restart));
        }
        let filter = Filter::parse(&config.telemetry.log)?;
        let quotas = Quotas::configured(&config, &catalog)?;
        let guests = self.guests(&now.gateway, &now.config, &config)?;
        let upstream = Box::pin(now.gateway.upstream().changed(&config.aws)).await?;
        let refresh = self.refresher.change(upstream.clone(), catalog, &config.models).await?;
        let gateway = now.gateway.changed(Changes {
            catalog: refresh.live().clone(),
            guests,
            upstream,
            quotas,
            failover: super::assembly::failover(&config.aws),
            order: config.aws.order,
        });
        let routes = self.extras.routes(&gateway, &config);
        let memory = super::room::for_bodies(&config.server);
        let are_regions_new = config.aws.regions.iter().any(|region| !now.config.aws.regions.contains(region));

        // Nothing fails from here on.
        self.switch.replace(Serving { config, gateway, routes });
        refresh.make();
        self.switch.now().gateway.memory().change(memory);
        filter.apply();
        if are_regions_new && self.started.aws.catalog_refresh().is_some() {
            let refresher = self.refresher.clone();
            let refreshing = async move {
                refresher.refresh().await;
            };
            self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(refreshing));
        }
        Ok((Outcome::Applied, needing_restart))
    }

    /// Who calls without a key of the store. What issuers published is kept unless an issuer changed.
    fn guests(&self, gateway: &Gateway, last: &Config, config: &Config) -> Result<Guests> {
        if last.auth == config.auth {
            return Ok(gateway.guests().clone());
        }
        let issuers = if last.auth.jwt == config.auth.jwt {
            None
        } else {
            let (documents, clock) = (Documents::new(&config.fetch)?, gateway.clock().clone());
            Some(Issuers::new(&config.auth.jwt, documents, clock, &self.tracker, &self.stop))
        };
        Ok(gateway.guests().changed(Administrators::new(&config.auth.admin_key_sha256), issuers))
    }
}

fn told(error: &Error) -> Vec<String> {
    vec![error.blamed().map_or_else(|| error.to_string(), |path| format!("{path}: {error}"))]
}
