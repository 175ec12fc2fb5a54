//! An entry of the ledger as the journal writes it down. A file of a crashed process may be read by another version of
//! the gateway, so what is written is named here once and for all; a member added later takes a default.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{KeyId, RequestId, TeamId};
use crate::money::MicroUsd;
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};

#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    id: Cow<'a, str>,
    request_id: Cow<'a, str>,
    at: i64,
    team: Cow<'a, str>,
    key: Cow<'a, str>,
    surface: Cow<'a, str>,
    operation: Cow<'a, str>,
    model: Cow<'a, str>,
    region: Option<Cow<'a, str>>,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    cost_micro_usd: Option<i64>,
    tier: Cow<'a, str>,
    latency_ms: u64,
    ttft_ms: Option<u64>,
    attempts: u32,
    status: u16,
    outcome: Cow<'a, str>,
    usage_source: Cow<'a, str>,
    streamed: bool,
    end_user: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Entry> for Row<'a> {
    fn from(entry: &'a Entry) -> Self {
        // Taken apart, so that a field that is added to an entry cannot be forgotten here.
        let Entry {
            id,
            request_id,
            at,
            team,
            key,
            surface,
            operation,
            model,
            region,
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cost,
            tier,
            latency_ms,
            ttft_ms,
            attempts,
            status,
            outcome,
            usage_source,
            streamed,
            end_user,
        } = entry;
        let source: &'static str = usage_source.into();
        Self {
            id: id.into(),
            request_id: request_id.as_str().into(),
            at: at.millis(),
            team: team.as_str().into(),
            key: key.as_str().into(),
            surface: surface.as_ref().into(),
            operation: operation.as_ref().into(),
            model: model.into(),
            region: region.as_ref().map(Into::into),
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
            cache_read_tokens: *cache_read_tokens,
            cache_write_tokens: *cache_write_tokens,
            cost_micro_usd: cost.map(|cost| cost.0),
            tier: tier.as_ref().into(),
            latency_ms: *latency_ms,
            ttft_ms: *ttft_ms,
            attempts: *attempts,
            status: *status,
            outcome: outcome.as_str().into(),
            usage_source: source.into(),
            streamed: *streamed,
            end_user: end_user.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<Row<'_>> for Entry {
    type Error = strum::ParseError;

    fn try_from(row: Row<'_>) -> Result<Self, Self::Error> {
        Ok(Self {
            id: row.id.into_owned(),
            request_id: RequestId::from(row.request_id),
            at: Timestamp::from_millis(row.at),
            team: TeamId::from(row.team),
            key: KeyId::from(row.key),
            surface: row.surface.into_owned().into(),
            operation: row.operation.into_owned().into(),
            model: row.model.into_owned(),
            region: row.region.map(Cow::into_owned),
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_write_tokens: row.cache_write_tokens,
            cost: row.cost_micro_usd.map(MicroUsd),
            tier: row.tier.into_owned().into(),
            latency_ms: row.latency_ms,
            ttft_ms: row.ttft_ms,
            attempts: row.attempts,
            status: row.status,
            outcome: Outcome::from(row.outcome.into_owned()),
            usage_source: row.usage_source.parse::<UsageSource>()?,
            streamed: row.streamed,
            end_user: row.end_user.map(Cow::into_owned),
        })
    }
}
