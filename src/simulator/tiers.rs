//! Service tiers: which models have which, and which one serves a call. AWS's pages leave open whether a tier that a model lacks is
//! refused or served by the default one, so that tests can have either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::errors::Failure;
use super::operations::Context;
use super::resolve::Target;
use super::settings::UnsupportedTier;

/// The models that the price list has `flex` and `priority` prices for.
static PRICED: LazyLock<BTreeMap<String, BTreeSet<&'static str>>> = LazyLock::new(|| {
    let file: Value = serde_json::from_str(include_str!("../../data/prices.json")).unwrap_or_default();
    let mut tiers: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for row in file["prices"].as_array().into_iter().flatten() {
        let model = row["model"].as_str().unwrap_or_default();
        for tier in ["flex", "priority"] {
            let has = row.as_object().into_iter().flatten().any(|(key, _)| key.starts_with(&format!("{tier}_")));
            if has {
                tiers.entry(model.to_owned()).or_default().insert(tier);
            }
        }
    }
    tiers
});

/// The tier that serves a call which asked for `asked`, or AWS's refusal.
pub(crate) fn serving(context: &Context<'_>, target: &Target, asked: &str) -> Result<&'static str, Failure> {
    let settings = context.simulator.settings();
    let on_demand = !target.is_provisioned();
    let has = |tier: &str| PRICED.get(&target.model.id).is_some_and(|tiers| tiers.contains(tier));
    match asked {
        "priority" if on_demand && has("priority") => Ok("priority"),
        "flex" if on_demand && has("flex") => Ok("flex"),
        // What exceeds reserved capacity overflows to the default tier: all of it, when nothing is reserved.
        "reserved" if on_demand => {
            Ok(if settings.reserved_capacity.contains(&target.model.id) { "reserved" } else { "default" })
        }
        "default" => Ok("default"),
        _ => match settings.unsupported_tier {
            UnsupportedTier::ServeDefault => Ok("default"),
            UnsupportedTier::Refuse => Err(Failure::validation(format!(
                "The service tier {asked} is not supported for the model {}. Use a supported service tier and try again.",
                target.model.id
            ))),
        },
    }
}

impl Context<'_> {
    /// The tier that serves a call, if its header or `asked` names one.
    pub(crate) fn tier(&self, target: &Target, asked: Option<&str>) -> Result<Option<&'static str>, Failure> {
        let asked = self.header("x-amzn-bedrock-service-tier").or(asked);
        asked.map(|asked| serving(self, target, if asked == "auto" { "default" } else { asked })).transpose()
    }
}
