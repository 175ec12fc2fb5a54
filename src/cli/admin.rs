//! `keys` and `teams`: administration against the configured store, with or without a gateway running.

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use jiff::{Span, Zoned};
use serde_json::{Value, json};

use super::{ConfigFile, Failure, print, warn};
use crate::catalog::Geography;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::Error;
use crate::ids::KeyId;
use crate::store::Store;
use crate::tenancy::admin::{self, Actor};
use crate::tenancy::{Key, NewKey, NewTeam, OnDisconnect, RoleArn, Scope, Team};

/// Make, list and revoke keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key. It is shown once, alone on the last line.
    Create(CreateKey),
    /// List all keys.
    List(Listing),
    /// Give a key another secret. Its id stays; the new key is shown once, alone on the last line.
    Rotate(RotateKey),
    /// Revoke a key, for good.
    Revoke {
        /// The key's id: what stands between the first two underscores of the key.
        id: String,
        #[command(flatten)]
        common: Listing,
    },
}

/// Make and list teams.
#[derive(Debug, Subcommand)]
pub(super) enum Teams {
    /// Make a team.
    Create(CreateTeam),
    /// List all teams.
    List(Listing),
}

#[derive(Debug, Args)]
pub(super) struct Listing {
    #[command(flatten)]
    config: ConfigFile,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateKey {
    /// Id or name of the team it belongs to.
    #[arg(long)]
    team: String,
    /// What it is for.
    #[arg(long)]
    name: String,
    /// What it may do: inference, batch, admin, metrics.
    #[arg(long, value_delimiter = ',', default_value = "inference,batch")]
    scopes: Vec<String>,
    /// When it ends: a duration from now, such as 30d or 12h, or a date and time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Models it may use, `*` at the end of a name as a wildcard; without it, those of its team.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Regions it may use; without it, those of its team.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// Networks or addresses that its calls have to come from, such as 10.0.0.0/8; without it, anywhere.
    #[arg(long, value_delimiter = ',')]
    networks: Option<Vec<String>>,
    /// What becomes of a call whose client leaves: it is cancelled, or read to its end to know what it cost.
    #[arg(long, value_name = "cancel|drain", default_value_t)]
    on_disconnect: OnDisconnect,
    #[command(flatten)]
    common: Listing,
}

#[derive(Debug, Args)]
pub(super) struct RotateKey {
    /// The key's id: what stands between the first two underscores of the key.
    id: String,
    /// How long the secret before still counts: 0s to 30d.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    overlap: String,
    #[command(flatten)]
    common: Listing,
}

#[derive(Debug, Args)]
pub(super) struct CreateTeam {
    /// The team's name.
    name: String,
    /// Models it may use, `*` at the end of a name as a wildcard; without it, every model.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Regions it may use; without it, every Region.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// A geography that its calls may not leave, such as eu or us-gov.
    #[arg(long)]
    geography: Option<String>,
    /// An AWS role to assume for its calls, by ARN; without it, they are made with the gateway's own identity.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    #[command(flatten)]
    common: Listing,
}

impl Listing {
    async fn store(&self) -> Result<Store, Failure> {
        let (config, _) = self.config.load()?;
        Ok(Store::open(&config.store.url).await?)
    }

    /// The store, once the lists of what somebody may use name what exists. A model that is not known may come later,
    /// so that is only a warning.
    async fn store_for(&self, models: Option<&[String]>, regions: Option<&[String]>) -> Result<Store, Failure> {
        let (config, catalog) = self.config.load()?;
        for region in regions.unwrap_or_default() {
            catalog.check_region(region).map_err(|problem| Error::invalid("--regions", problem))?;
        }
        for problem in models.unwrap_or_default().iter().filter_map(|model| catalog.check_allowed(model).err()) {
            warn(&format!("--models: {problem}"));
        }
        Ok(Store::open(&config.store.url).await?)
    }

    /// A role is assumed from the Regions that are called, and none of them trusts another partition.
    fn check_partition(&self, of_role: &str) -> Result<(), Failure> {
        let (config, catalog) = self.config.load()?;
        let mut of_regions = config.aws.regions.iter().filter_map(|region| catalog.region(region));
        if of_regions.clone().any(|region| *region.partition == *of_role) {
            return Ok(());
        }
        let Some(called) = of_regions.next() else { return Ok(()) };
        let text = format!(
            "The role is of the partition `{of_role}`, and the Regions in `aws.regions` are of `{}`.",
            called.partition
        );
        Err(Error::invalid("--role-arn", text).into())
    }

    /// One thing: its JSON, or its line of text.
    fn show(&self, value: &Value, text: &str) -> Result<(), Failure> {
        if self.json { print(value) } else { print(&text) }
    }

    /// Several things: `{"data": [...], "next": null}`, or a table.
    fn table(&self, rows: &[Value], columns: &[&str]) -> Result<(), Failure> {
        if self.json {
            return print(&json!({ "data": rows, "next": null }));
        }
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns);
        for row in rows {
            table.add_row(columns.iter().map(|column| cell(&row[column])));
        }
        print(&table)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Create(arguments) => arguments.run(&clock).await,
            Self::List(listing) => {
                let store = listing.store().await?;
                let teams = admin::list_teams(&store).await?;
                let keys = admin::list_keys(&store).await?;
                let rows: Vec<Value> = keys.iter().map(|key| key_json(key, &teams)).collect();
                listing.table(&rows, &["id", "team_name", "name", "scopes", "expires_at", "revoked_at", "last_use"])
            }
            Self::Rotate(arguments) => arguments.run(&clock).await,
            Self::Revoke { id, common } => {
                let store = common.store().await?;
                let key = admin::revoke_key(&store, &clock, Actor::CommandLine, &KeyId::from(&id)).await?;
                let teams = admin::list_teams(&store).await?;
                common.show(&key_json(&key, &teams), &format!("Revoked key {id}."))
            }
        }
    }
}

impl CreateKey {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let scopes = self.scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
        let expires_at = self.expires.as_deref().map(|when| ending("--expires", when, clock.now())).transpose()?;
        let new = NewKey {
            scopes,
            expires_at,
            models: self.models,
            regions: self.regions,
            networks: self.networks,
            on_disconnect: self.on_disconnect,
            ..NewKey::new(self.team, self.name)
        };
        let store = self.common.store_for(new.models.as_deref(), new.regions.as_deref()).await?;
        let (key, secret) = admin::create_key(&store, clock, Actor::CommandLine, new).await?;
        let teams = admin::list_teams(&store).await?;
        let mut value = key_json(&key, &teams);
        value["key"] = json!(secret.expose());
        let team = value["team_name"].as_str().unwrap_or(key.team.as_str());
        let text = format!("Made key {} for team {team}. It is shown this once:\n{}", key.id, secret.expose());
        self.common.show(&value, &text)
    }
}

impl RotateKey {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let now = clock.now();
        let overlap = ending("--overlap", &self.overlap, now)?.since(now);
        let store = self.common.store().await?;
        let (key, secret) =
            admin::rotate_key(&store, clock, Actor::CommandLine, &KeyId::from(&self.id), overlap).await?;
        let teams = admin::list_teams(&store).await?;
        let mut value = key_json(&key, &teams);
        value["key"] = json!(secret.expose());
        let until = key
            .previous_until()
            .map_or_else(String::new, |until| format!(" The secret before counts until {}.", moment(until)));
        let text = format!("Rotated key {}.{until} The new key is shown this once:\n{}", key.id, secret.expose());
        self.common.show(&value, &text)
    }
}

impl Teams {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Create(arguments) => arguments.run(&clock).await,
            Self::List(listing) => {
                let teams = admin::list_teams(&listing.store().await?).await?;
                let rows: Vec<Value> = teams.iter().map(team_json).collect();
                listing.table(&rows, &["id", "name", "models", "regions", "geography", "role_arn", "created_at"])
            }
        }
    }
}

impl CreateTeam {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { name, models, regions, geography, role_arn, common } = self;
        let store = common.store_for(models.as_deref(), regions.as_deref()).await?;
        if let Some(partition) = role_arn.as_deref().and_then(config::role_partition) {
            common.check_partition(partition)?;
        }
        let new = NewTeam { name, models, regions, geography, role_arn };
        let team = admin::create_team(&store, clock, Actor::CommandLine, new).await?;
        common.show(&team_json(&team), &format!("Made team {} ({}).", team.name, team.id))
    }
}

fn key_json(key: &Key, teams: &[Team]) -> Value {
    let team = teams.iter().find(|team| team.id == key.team);
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    json!({
        "id": key.id.as_str(),
        "team": key.team.as_str(),
        "team_name": team.map(|team| &team.name),
        "name": key.name,
        "scopes": scopes,
        "models": key.models.entries(),
        "regions": key.regions.entries(),
        "networks": key.networks,
        "on_disconnect": key.on_disconnect.to_string(),
        "previous_until": key.previous_until().map(moment),
        "created_at": moment(key.created_at),
        "expires_at": key.expires_at.map(moment),
        "revoked_at": key.revoked_at.map(moment),
        "last_use": key.last_use.map(moment),
    })
}

fn team_json(team: &Team) -> Value {
    json!({
        "id": team.id.as_str(),
        "name": team.name,
        "models": team.models.entries(),
        "regions": team.regions.entries(),
        "geography": team.geography.map(Geography::name),
        "role_arn": team.role.as_ref().map(RoleArn::as_str),
        "created_at": moment(team.created_at),
    })
}

/// RFC 3339, in UTC.
fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(|_| at.millis().to_string(), |moment| moment.to_string())
}

/// A duration from now, such as `30d`, or a moment as RFC 3339 writes it.
fn ending(argument: &str, text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(moment.as_millisecond()));
    }
    let wrong = || Error::invalid(argument, format!("`{text}` is neither a duration such as 30d nor an RFC 3339 time"));
    let span: Span = text.parse().map_err(|_| wrong())?;
    let start = jiff::Timestamp::from_millisecond(now.millis()).map_err(|_| wrong())?;
    let start: Zoned = start.to_zoned(jiff::tz::TimeZone::UTC);
    let end = start.checked_add(span).map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(end.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_duration_or_a_moment() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(ending("--expires", "30d", now).unwrap().millis(), 1_000 + 30 * 86_400_000);
        assert_eq!(ending("--expires", "12h", now).unwrap().millis(), 1_000 + 12 * 3_600_000);
        assert_eq!(ending("--expires", "2030-01-01T00:00:00Z", now).unwrap().millis(), 1_893_456_000_000);
        assert!(ending("--expires", "soon", now).is_err());
    }
}
