//! `CountTokens`: the same count that an inference of the same body would report as input.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::catalog::Family;
use super::errors::Failure;
use super::operations::Context;
use super::reply::Reply;
use super::validate::{conversation, shape};
use super::{converse, invoke};

/// Answers `CountTokens`; only foundation models that are offered by their bare id in some Region of the account count.
pub(crate) fn answer(context: &Context<'_>, model_id: &str, body: &[u8]) -> Result<Reply, Failure> {
    let body = shape::parse("CountTokensRequest", body)?;
    let bare = model_id.rsplit('/').next().unwrap_or(model_id);
    let model = context.catalog.model(bare).filter(|model| {
        context.catalog.profile_of(model, context.region).is_some() || model.on_demand_in(context.region)
    });
    let model = model.ok_or_else(|| Failure::validation("The provided model identifier is invalid."))?;
    if !matches!(model.family(), Family::Claude) || model.sampling_params == Some(false) {
        return Err(Failure::validation("The provided model doesn't support counting tokens."));
    }
    let input = &body["input"];
    let meter = if input["converse"].is_object() {
        conversation::check(&input["converse"], model)?;
        converse::read(&input["converse"], model).1
    } else {
        let bytes =
            BASE64_STANDARD.decode(input["invokeModel"]["body"].as_str().unwrap_or_default()).unwrap_or_default();
        invoke::measure(&bytes, model)?
    };
    Ok(Reply::json(&json!({"inputTokens": meter.total()})))
}
