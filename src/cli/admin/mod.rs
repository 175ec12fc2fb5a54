//! `teams`, `keys`, `limits`, `budgets`, `audit`: administration against the configured store, with or without a gateway
//! running.
//!
//! `--json` shows what the administration API shows, in the same words; without it there are tables and sentences for
//! people.

mod audit;
mod budgets;
mod keys;
mod limits;
mod teams;

use std::sync::Arc;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use jiff::{Span, Zoned};
use serde::Serialize;
use serde_json::{Value, json};

pub(super) use self::audit::Audit;
pub(super) use self::budgets::Budgets;
pub(super) use self::keys::Keys;
pub(super) use self::limits::Limits;
pub(super) use self::teams::Teams;
use super::{ConfigFile, Failure, print, warn};
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::fetch::Fetcher;
use crate::store::Store;
use crate::tenancy::admin::{Edit, Listed, Page, Whose, known, moment};
use crate::tenancy::{NewSecret, NewWebhook, Sealer};

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Listing {
    #[command(flatten)]
    config: ConfigFile,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Whose limit or budget is meant.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// Id or name of a team.
    #[arg(long, conflicts_with = "key")]
    team: Option<String>,
    /// Id of a key.
    #[arg(long)]
    key: Option<String>,
}

impl From<Subject> for Whose {
    fn from(subject: Subject) -> Self {
        Self { team: subject.team, key: subject.key }
    }
}

/// What somebody names of the outer world, to be looked up before it is taken.
#[derive(Default)]
struct Named<'a> {
    models: Vec<&'a str>,
    regions: &'a [String],
    role_arn: Option<&'a str>,
}

impl Listing {
    async fn store(&self) -> Result<Store, Failure> {
        let (config, _) = self.config.load()?;
        Ok(Store::open(&config.store.url).await?)
    }

    /// What the secrets of keys for signing are sealed with.
    fn sealer(&self) -> Result<Sealer, Failure> {
        let (config, _) = self.config.load()?;
        Ok(Sealer::configured(&config.auth).ok_or_else(Sealer::missing)?)
    }

    /// A secret for a team's webhook.
    fn secret(&self) -> Result<NewSecret, Failure> {
        let (config, _) = self.config.load()?;
        Ok(NewSecret::make(Sealer::configured(&config.auth).as_ref())?)
    }

    /// A webhook that may be called, with a secret for a team that has none.
    fn webhook(&self, url: String) -> Result<NewWebhook, Failure> {
        let (config, _) = self.config.load()?;
        Fetcher::new(&config.fetch, config.server.max_body_bytes())?.check_receiver("--webhook-url", &url)?;
        Ok(NewWebhook { url, secret: NewSecret::make(Sealer::configured(&config.auth).as_ref())? })
    }

    /// The store and the catalog, once what is named exists. A model that is not known may come later, so that is only
    /// a warning.
    async fn store_for(&self, named: &Named<'_>) -> Result<(Store, Catalog), Failure> {
        let (config, catalog) = self.config.load()?;
        known::check_regions(&catalog, "--regions", named.regions)?;
        if let Some(arn) = named.role_arn {
            let called: Vec<Arc<str>> = config.aws.regions.iter().map(|region| region.as_str().into()).collect();
            known::check_role(&catalog, &called, "--role-arn", arn)?;
        }
        for doubt in known::doubts(&catalog, "--models", named.models.iter().copied()) {
            warn(&doubt);
        }
        Ok((Store::open(&config.store.url).await?, catalog))
    }

    /// One thing: its JSON, or its line of text.
    fn show(&self, view: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json { print(&value_of(view)?) } else { print(&text) }
    }

    /// One thing with all its settings: its JSON, or a table of them.
    fn detail(&self, view: &impl Serialize) -> Result<(), Failure> {
        let value = value_of(view)?;
        if self.json {
            return print(&value);
        }
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        for (name, value) in value.as_object().into_iter().flatten() {
            table.add_row([name.clone(), cell(value)]);
        }
        print(&table)
    }

    /// Several things: `{"data": [...], "next": ...}`, or a table.
    fn table<T: Serialize>(&self, listed: &Listed<T>, columns: &[&str]) -> Result<(), Failure> {
        let rows = listed.data.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        if self.json {
            return print(&json!({ "data": rows, "next": listed.next }));
        }
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns);
        for row in rows {
            table.add_row(columns.iter().map(|column| cell(&row[column])));
        }
        print(&table)
    }
}

/// Every entry of a list, however many pages it has.
async fn all<T>(list: impl AsyncFn(Page) -> Result<Listed<T>, Error>) -> Result<Listed<T>, Failure> {
    let mut page = Page::first();
    let mut data = Vec::new();
    loop {
        let listed = list(page.clone()).await?;
        data.extend(listed.data);
        if listed.next.is_none() {
            return Ok(Listed { data, next: None });
        }
        page.after = listed.next;
    }
}

fn value_of(view: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(view).map_err(Error::internal)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) if members.is_empty() => "-".into(),
        other => other.to_string(),
    }
}

/// What becomes of a setting that `--clear` may name.
fn edit<T>(new: Option<T>, name: &str, cleared: &[String]) -> Result<Edit<T>, Error> {
    match (new, cleared.iter().any(|cleared| cleared == name)) {
        (Some(_), true) => Err(Error::invalid("--clear", format!("`{name}` is both set and cleared"))),
        (Some(new), false) => Ok(Edit::Set(new)),
        (None, true) => Ok(Edit::Clear),
        (None, false) => Ok(Edit::Keep),
    }
}

/// A pair such as `cost_centre=4711`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A duration from now, such as `30d`, or a moment as RFC 3339 writes it.
fn ending(argument: &str, text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    if let Ok(moment) = moment::read(argument, text) {
        return Ok(moment);
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

    #[test]
    fn a_setting_is_kept_set_or_cleared_and_not_two_of_these() {
        let cleared = ["models".to_owned()];
        assert_eq!(edit(Some(1), "regions", &cleared).unwrap(), Edit::Set(1));
        assert_eq!(edit::<u8>(None, "models", &cleared).unwrap(), Edit::Clear);
        assert_eq!(edit::<u8>(None, "regions", &cleared).unwrap(), Edit::Keep);
        assert_eq!(edit(Some(1), "models", &cleared).unwrap_err().blamed(), Some("--clear"));
    }
}
