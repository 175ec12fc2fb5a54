//! A report as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::tenancy::usage::{Dimension, Row};

/// One page of a report.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageList {
    /// By team, key, model, Region, day, and so on, as far as they are grouped by them.
    pub data: Vec<UsageRow>,
    /// What `cursor` takes for the page after this one; null on the last.
    pub next: Option<String>,
}

/// What the calls of one group used and cost. What they are not grouped by is left out.
#[derive(Debug, Default, Serialize, ToSchema)]
#[expect(clippy::option_option, reason = "what is left out, null and a value are three things")]
pub struct UsageRow {
    /// The team's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    team: Option<Option<String>>,
    /// Null: there is no such team any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    team_name: Option<Option<String>>,
    /// The key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<Option<String>>,
    /// Null: there is no such key in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key_name: Option<Option<String>>,
    /// Bedrock's id of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    model: Option<Option<String>>,
    /// Null: none answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    region: Option<Option<String>>,
    /// The UTC day, such as `2026-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    day: Option<Option<String>>,
    /// The service tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    tier: Option<Option<String>>,
    /// `openai`, `anthropic`, `bedrock`, `rerank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    surface: Option<Option<String>>,
    /// For example `chat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    operation: Option<Option<String>>,
    /// `ok`, `cancelled`, or the kind of error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    outcome: Option<Option<String>>,
    /// Whom the calls say that they are for; null: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    end_user: Option<Option<String>>,
    /// Calls, those that failed included.
    requests: u64,
    /// Tokens read at the full price.
    input_tokens: u64,
    /// Tokens written by the models.
    output_tokens: u64,
    /// Tokens read from caches.
    cache_read_tokens: u64,
    /// Tokens written to caches.
    cache_write_tokens: u64,
    /// US dollars with six decimals: the sum of the costs that are known; null when not one is.
    cost_usd: Option<String>,
    /// Calls whose price is not known, which `cost_usd` leaves out.
    unpriced_requests: u64,
}

impl UsageRow {
    /// The row of a report by `by`.
    pub fn of(row: &Row, by: &[Dimension]) -> Self {
        let value = |dimension: Dimension| by.contains(&dimension).then(|| row.group.value(dimension));
        Self {
            team: value(Dimension::Team),
            team_name: by.contains(&Dimension::Team).then(|| row.team_name.clone()),
            key: value(Dimension::Key),
            key_name: by.contains(&Dimension::Key).then(|| row.key_name.clone()),
            model: value(Dimension::Model),
            region: value(Dimension::Region),
            day: value(Dimension::Day),
            tier: value(Dimension::Tier),
            surface: value(Dimension::Surface),
            operation: value(Dimension::Operation),
            outcome: value(Dimension::Outcome),
            end_user: value(Dimension::EndUser),
            requests: row.requests,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_write_tokens: row.cache_write_tokens,
            cost_usd: row.cost.map(|cost| cost.to_string()),
            unpriced_requests: row.unpriced,
        }
    }
}

/// The names of the fields of a row of a report by `by`, in the order that was asked for.
pub fn columns(by: &[Dimension]) -> Vec<String> {
    let mut columns = Vec::new();
    for dimension in by {
        columns.push(dimension.to_string());
        if matches!(dimension, Dimension::Team | Dimension::Key) {
            columns.push(format!("{dimension}_name"));
        }
    }
    let sums = [
        "requests",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cost_usd",
        "unpriced_requests",
    ];
    columns.extend(sums.map(str::to_owned));
    columns
}
