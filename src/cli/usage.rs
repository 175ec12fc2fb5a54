//! `usage`: what calls used and cost, from the configured store, with or without a gateway running.

use std::io::Write as _;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use super::{ConfigFile, Failure, print};
use crate::api::usage::{UsageRow, columns, header, line, model};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::KeyId;
use crate::store::Store;
use crate::tenancy::usage::{Dimension, Filter, Question, Row, find_team, moment, report};

/// Rows that are read at once.
const PAGE: u32 = 5000;

/// Tell what calls used and cost.
#[derive(Debug, Args)]
pub(super) struct Usage {
    /// Of calls settled then or later: a date, which begins at midnight in UTC, or a date and time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Of calls settled before.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// By what to add up, with commas: team, key, model, region, day, tier, surface, operation, outcome, `end_user`.
    #[arg(long, value_name = "LIST", default_value = "team")]
    group_by: String,
    /// Of this team, by id or name.
    #[arg(long)]
    team: Option<String>,
    /// Of the key with this id.
    #[arg(long)]
    key: Option<String>,
    /// On this model, by any of its names.
    #[arg(long)]
    model: Option<String>,
    /// Answered by this Region.
    #[arg(long)]
    region: Option<String>,
    /// JSON instead of a table.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV instead of a table.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl Usage {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (config, catalog) = self.config.load()?;
        let by = Dimension::list(&self.group_by).map_err(|error| option(&error))?;
        let at = |name: &str, text: Option<&str>| text.map(|text| moment(name, text)).transpose();
        let from = at("--from", self.from.as_deref())?.unwrap_or_default();
        let until = at("--to", self.to.as_deref())?.unwrap_or(Timestamp::from_millis(i64::MAX));
        if from > until {
            return Err(Error::invalid("--to", "`--to` has to be `--from` or later.").into());
        }
        if let Some(region) = &self.region {
            catalog.check_region(region).map_err(|problem| Error::invalid("--region", problem))?;
        }
        let store = Store::open(&config.store.url).await?;
        let team = match &self.team {
            Some(team) => Some(find_team(&store, team).await.map_err(|error| option(&error))?),
            None => None,
        };
        let filter = Filter {
            team,
            key: self.key.map(KeyId::from),
            model: self.model.map(|name| model(name, &catalog)),
            region: self.region,
        };
        let question = Question { by, from, until, filter, limit: PAGE, after: None };
        if self.csv {
            return write_csv(&store, question).await;
        }
        let by = question.by.clone();
        let mut rows = Vec::new();
        each_page(&store, question, |page| {
            rows.extend(page.iter().map(|row| json!(UsageRow::of(row, &by))));
            Ok(())
        })
        .await?;
        if self.json { print(&json!({ "data": rows, "next": null })) } else { print(&table(&rows, &by)) }
    }
}

/// Blames the option instead of the parameter that it stands for.
fn option(error: &Error) -> Error {
    let name = format!("--{}", error.blamed().unwrap_or_default().replace('_', "-"));
    Error::new(error.kind(), error.message().to_owned()).param(name)
}

async fn write_csv(store: &Store, question: Question) -> Result<(), Failure> {
    let by = question.by.clone();
    write!(std::io::stdout().lock(), "{}", header(&by))?;
    each_page(store, question, |page| {
        let mut stdout = std::io::stdout().lock();
        for row in page {
            write!(stdout, "{}", line(row, &by))?;
        }
        Ok(())
    })
    .await
}

/// Shows every page to `see`.
async fn each_page(
    store: &Store,
    mut question: Question,
    mut see: impl FnMut(&[Row]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let page = report(store, &question).await.map_err(|error| option(&error))?;
        see(&page.rows)?;
        question.after = page.next;
        if question.after.is_none() {
            return Ok(());
        }
    }
}

fn table(rows: &[Value], by: &[Dimension]) -> Table {
    // Of a team or key its name is enough for a person; where it has none, its id.
    let columns: Vec<String> = columns(by).into_iter().filter(|column| !column.ends_with("_name")).collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(&columns);
    for row in rows {
        let cell = |column: &String| {
            let name = row.get(format!("{column}_name")).filter(|name| !name.is_null());
            match name.or_else(|| row.get(column)) {
                None | Some(Value::Null) => "-".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            }
        };
        table.add_row(columns.iter().map(cell));
    }
    let is_text = |column: &str| by.iter().any(|dimension| dimension.to_string() == column);
    for (index, _) in columns.iter().enumerate().filter(|(_, column)| !is_text(column)) {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
