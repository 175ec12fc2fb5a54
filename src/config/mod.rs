//! The configuration: one [`Config`], a file per section, each with its defaults and its checks.
//!
//! [`load`] puts the environment over the file, decodes and checks, and reports every problem at once with its path.
//! Nothing here reads the process's environment (it is handed in), and nothing knows which Regions and models
//! exist: `crate::catalog` checks that. Secrets are in neither problems nor `Debug`.

mod alias;
mod auth;
mod aws;
mod batch;
mod capture;
mod decode;
mod fetch;
mod idempotency;
mod layers;
mod ledger;
mod otel;
mod problem;
mod reload;
mod responses;
mod server;
mod shape;
mod shared;
mod store;
mod suggest;
mod telemetry;

use std::path::PathBuf;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;

pub use alias::{Alias, PromptCache};
pub use auth::{Algorithm, Auth, Jwt, travels_safely};
pub use aws::{Aws, Endpoints, Order, Quota, Secret};
pub use batch::{Batch, BatchLimits, SmallBatches};
pub use capture::Capture;
pub use decode::path_of;
pub use fetch::Fetch;
pub use idempotency::Idempotency;
pub use ledger::Ledger;
pub use otel::{Otel, Sampling};
pub use problem::{Problem, Problems};
pub use reload::{RELOADED, needing_restart, taken_over};
pub use responses::Responses;
pub use server::Server;
pub use shape::{NOT_A_ROLE_ARN, network, role_partition};
pub use shared::{OnFailure, Shared};
pub use store::Store;
pub use suggest::nearest;
pub use telemetry::Telemetry;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners and bodies.
    pub server: Server,
    /// The database.
    pub store: Store,
    /// The record of calls.
    pub ledger: Ledger,
    /// Repeated calls.
    pub idempotency: Idempotency,
    /// Stored responses.
    pub responses: Responses,
    /// What replicas share.
    pub shared: Shared,
    /// Regions and how to call them.
    pub aws: Aws,
    /// Files that requests point to by URL.
    pub fetch: Fetch,
    /// Batch jobs.
    pub batch: Batch,
    /// Administrators and token issuers.
    pub auth: Auth,
    /// Other names for models.
    pub models: Vec<Alias>,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// Where the settings come from. No `Debug`: the environment holds secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`. Without one the defaults hold; no file is looked for.
    pub file: Option<PathBuf>,
    /// The process's environment, as the command line collected it once.
    pub env: Vec<(String, String)>,
}

/// Reads and checks the settings: defaults, under the file, under `BEDROCK_GATEWAY__SECTION__KEY`. Of the standard
/// variables of AWS only `AWS_BEARER_TOKEN_BEDROCK` is taken here; the AWS SDK reads the others itself. Those of OpenTelemetry
/// are taken as far as `otel.rs` lists them.
///
/// # Errors
/// Every problem with its path.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let (config, problems) = read(sources);
    problems.or(config)
}

/// As [`load`], for who looks for further problems: the settings, with defaults where they are wrong, and what is wrong.
pub fn read(sources: &Sources) -> (Config, Problems) {
    let mut problems = Problems::default();
    let mut tree = sources.file.as_deref().map(|path| layers::file(path, &mut problems)).unwrap_or_default();
    let variables = layers::overlay(&mut tree, &sources.env, &mut problems);
    problems.attribute(variables.iter().map(|set| (decode::path_of(&set.keys), set.name.clone())).collect());
    let mut config = decode::decode(tree, variables, &mut problems);
    config.aws.bearer_token = bearer_token(&sources.env, &mut problems);
    config.telemetry.otel = Otel::read(&sources.env, &mut problems);
    config.validate(&mut problems);
    problems.sort();
    (config, problems)
}

/// What can be set, as a JSON Schema (draft 2020-12): every key with its type, its default and what it means, as the doc
/// comments here say it. Editors complete and check a configuration file by it; the reference in the documents is
/// written of it.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

impl Config {
    fn validate(&self, problems: &mut Problems) {
        self.server.validate(problems);
        self.store.validate(problems);
        self.ledger.validate(problems);
        self.idempotency.validate(problems);
        self.responses.validate(problems);
        self.shared.validate(problems);
        self.aws.validate(problems);
        self.fetch.validate(problems);
        self.batch.validate(problems);
        self.auth.validate(problems);
        alias::validate(&self.models, problems);
        self.telemetry.validate(problems);
    }
}

fn bearer_token(env: &[(String, String)], problems: &mut Problems) -> Option<Secret> {
    const NAME: &str = "AWS_BEARER_TOKEN_BEDROCK";
    let token = env.iter().find(|(name, _)| name == NAME).map(|(_, value)| value.trim())?;
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        problems.add(NAME, "holds characters that no HTTP header can carry");
        return None;
    }
    (!token.is_empty()).then(|| Secret::new(token))
}

#[cfg(test)]
mod tests;
