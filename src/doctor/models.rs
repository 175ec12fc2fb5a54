//! Whether models can be called, where the gateway would call them.
//!
//! Of each place: whether AWS offers the model to the account, whether its profile leads where the catalog says, and
//! whether a call is permitted. For the last a call is made that AWS has to refuse as malformed: permission is judged
//! first, and no model runs.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method};
use serde::Deserialize;

use super::{AT_ONCE, Check, Examined, Group, Invoke, Outcome, Standing, within};
use crate::catalog::{Destinations, Fence, Kind, Place, Resolved, Scope};
use crate::upstream::{Call, Failure, Operation, PlainCall, Reason, Region};

/// The aliases, or the models that were asked for: in each Region where they are called.
pub(super) async fn look(examined: &Examined<'_>, standing: &Standing) -> Vec<Check> {
    let aliases = || examined.catalog.aliases().map(|(name, _)| name.to_owned()).collect();
    let names: Vec<String> = if examined.wish.models.is_empty() { aliases() } else { examined.wish.models.clone() };
    if names.is_empty() {
        let found = "the configuration has no [[models]]; --models NAME,NAME looks at some";
        return vec![Check::skipped(Group::Models, "models", found)];
    }
    let mut checks = Vec::new();
    let mut places = Vec::new();
    for name in names {
        match found(examined, &name) {
            Ok(candidates) => places.extend(candidates),
            Err(check) => checks.push(check),
        }
    }
    if *standing == Standing::Nobody {
        let skip = |asked: &Asked| Check::skipped(Group::Models, asked.subject(), "needs credentials");
        checks.extend(places.iter().map(skip));
        return checks;
    }
    let looks: Vec<_> = places.iter().map(|asked| look_at(examined, asked)).collect();
    checks.extend(stream::iter(looks).buffered(AT_ONCE).collect::<Vec<_>>().await.concat());
    checks
}

/// A model by a name, in a Region.
struct Asked {
    name: String,
    resolved: Resolved,
    place: std::sync::Arc<Place>,
}

impl Asked {
    fn subject(&self) -> String {
        format!("{} in {}", shown(&self.name), self.place.region)
    }

    /// What is called, without account.
    fn id(&self) -> &str {
        shown(&self.place.id)
    }
}

/// Of an ARN the last part.
fn shown(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn found(examined: &Examined<'_>, name: &str) -> Result<Vec<Asked>, Check> {
    let regions: Vec<_> = examined.upstream.regions().map(|region| region.name().clone()).collect();
    let candidates = examined.catalog.resolve(name).and_then(|resolved| {
        let order = examined.config.aws.order;
        let places = examined.catalog.candidates(&resolved, &regions, &Fence::default(), order)?;
        Ok(places.into_iter().map(|place| Asked { name: name.to_owned(), resolved: resolved.clone(), place }).collect())
    });
    let remedy = "Give a name that the gateway knows, or a Region that has the model.";
    candidates.map_err(|error| Check::failed(Group::Models, shown(name), error.message(), remedy))
}

async fn look_at(examined: &Examined<'_>, asked: &Asked) -> Vec<Check> {
    let subject = asked.subject();
    let Some(region) = examined.upstream.region(&asked.place.region) else { return Vec::new() };
    let mut checks = within(Group::Models, &subject, async { vec![look_in(region, asked).await] }).await;
    let is_good = checks.iter().all(|check| check.outcome != Outcome::Failed);
    if examined.wish.invoke == Invoke::Once && is_good {
        checks.extend(within(Group::Models, &subject, async { vec![invoke(region, asked).await] }).await);
    }
    checks
}

async fn look_in(region: &Region, asked: &Asked) -> Check {
    let (offer, routes, denial) =
        futures_util::future::join3(offer(region, asked), routes(region, asked), dry_run(region, asked)).await;
    let subject = asked.subject();
    if let Some((found, remedy)) = denial.or(offer) {
        return Check::failed(Group::Models, subject, found, remedy);
    }
    match routes {
        Routes::None => Check::ok(Group::Models, subject, format!("{} may be called", asked.id())),
        Routes::As(to) => Check::ok(Group::Models, subject, format!("{} may be called; answered in {to}", asked.id())),
        Routes::Odd(found, remedy) => {
            Check::warning(Group::Models, subject, format!("{} may be called, but {found}", asked.id()), remedy)
        }
    }
}

/// `GetFoundationModelAvailability`. An absent member says nothing.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetFoundationModelAvailability.html>
#[derive(Default, Deserialize)]
#[serde(default)]
struct Availability {
    #[serde(rename = "agreementAvailability")]
    agreement: Agreement,
    #[serde(rename = "authorizationStatus")]
    authorization: Option<String>,
    #[serde(rename = "entitlementAvailability")]
    entitlement: Option<String>,
    #[serde(rename = "regionAvailability")]
    region: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Agreement {
    status: Option<String>,
}

/// Why AWS does not offer the model to the account here, if it says so.
async fn offer(region: &Region, asked: &Asked) -> Option<(String, String)> {
    let model = asked.resolved.model.as_ref()?;
    let call = PlainCall::new(Method::GET, ["foundation-model-availability", &model.id]);
    // Who may not look, or finds AWS busy, still sees whether calls are permitted.
    let reply = region.control(&call).await.ok()?;
    let told: Availability = serde_json::from_slice(&reply.body).ok()?;
    let is_no = |status: &Option<String>| status.as_deref().is_some_and(|status| status.starts_with("NOT_"));
    let (id, here) = (&model.id, region.name());
    if is_no(&told.region) && matches!(asked.place.scope, Scope::InRegion) {
        return Some((
            format!("AWS does not offer {id} in {here}"),
            "Take the Region or the model out of the configuration; the catalog is behind AWS here.".to_owned(),
        ));
    }
    if is_no(&told.authorization) || is_no(&told.entitlement) {
        return Some((
            format!("the account has no access to {id}"),
            "Request access to the model in the Bedrock console of the Region (Model access); Anthropic asks for a use case once."
                .to_owned(),
        ));
    }
    if is_no(&told.agreement.status) {
        return Some((
            format!("the agreement for {id} is not made"),
            "Let somebody with aws-marketplace:Subscribe call the model once, or accept it in the Bedrock console; it takes up to \
             15 minutes."
                .to_owned(),
        ));
    }
    None
}

/// Where the profile leads.
enum Routes {
    /// There is no profile.
    None,
    /// As the catalog says: these Regions.
    As(String),
    /// In another way, or it could not be seen.
    Odd(String, String),
}

#[derive(Deserialize)]
struct Profile {
    models: Vec<ProfileModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileModel {
    model_arn: String,
}

async fn routes(region: &Region, asked: &Asked) -> Routes {
    if matches!(asked.place.scope, Scope::InRegion) && asked.resolved.model.is_some() {
        return Routes::None;
    }
    if asked.resolved.model.is_none() && !asked.place.id.contains("inference-profile/") {
        return Routes::None;
    }
    let call = PlainCall::new(Method::GET, ["inference-profiles", &asked.place.id]);
    let reply = match region.control(&call).await {
        Ok(reply) => reply,
        Err(Failure { reason: Reason::Denied, .. }) => {
            let remedy = "Grant bedrock:GetInferenceProfile (`iam-policy` prints it): residency is judged by it.";
            return Routes::Odd("where its profile leads could not be seen".to_owned(), remedy.to_owned());
        }
        Err(failure) => {
            let found = format!("AWS does not tell of its profile: {}", failure.error.message());
            return Routes::Odd(found, "See whether the profile still exists in this Region.".to_owned());
        }
    };
    let Ok(profile) = serde_json::from_slice::<Profile>(&reply.body) else {
        return Routes::Odd("its profile could not be read".to_owned(), "Check aws.endpoints.".to_owned());
    };
    let really = profile.models.iter().filter_map(|model| model.model_arn.split(':').nth(3)).collect::<BTreeSet<_>>();
    compare(&really, &asked.place.destinations)
}

/// A global profile names the source Region and none.
fn compare(really: &BTreeSet<&str>, known: &Destinations) -> Routes {
    let list = |regions: &BTreeSet<&str>| regions.iter().copied().collect::<Vec<_>>().join(", ");
    let remedy = "Judge residency by what AWS says: the gateway's fences go by the catalog until it is refreshed.";
    match known {
        Destinations::Anywhere => Routes::As("any Region".to_owned()),
        Destinations::Unknown => Routes::As(list(really)),
        Destinations::Among(known) => {
            let known = known.iter().map(|region| &**region).collect::<BTreeSet<_>>();
            let more: BTreeSet<_> = really.difference(&known).copied().collect();
            let fewer: BTreeSet<_> = known.difference(really).copied().collect();
            match (more.is_empty(), fewer.is_empty()) {
                (true, true) => Routes::As(list(really)),
                (false, _) => Routes::Odd(
                    format!("its profile also leads to {}, which the catalog does not know", list(&more)),
                    remedy.to_owned(),
                ),
                (true, false) => {
                    Routes::Odd(format!("its profile no longer leads to {}", list(&fewer)), remedy.to_owned())
                }
            }
        }
    }
}

/// Why a call is not permitted.
async fn dry_run(region: &Region, asked: &Asked) -> Option<(String, String)> {
    let (operation, body) = if converses(asked) {
        (Operation::Converse, &br#"{"messages":[]}"#[..])
    } else {
        (Operation::InvokeModel, &b"{}"[..])
    };
    let call = Call { operation, headers: HeaderMap::new(), body: Bytes::from_static(body) };
    let failure = region.send(&asked.place.id, &call).await.err()?;
    let message = failure.error.message();
    match failure.reason {
        Reason::Denied => Some((format!("AWS denies the call: {message}"), grant(asked))),
        Reason::Missing => Some((
            format!("AWS does not have {} here: {message}", asked.id()),
            "Take the Region or the model out of the configuration, or name another profile.".to_owned(),
        )),
        Reason::Credentials => Some((
            "the Region does not take the credentials".to_owned(),
            "See the Region and the identity above.".to_owned(),
        )),
        Reason::Connection | Reason::Cut => Some((format!("no answer: {message}"), "See the Region above.".to_owned())),
        // Malformed, as it was meant to be; or AWS is busy, which is no matter of permission.
        _ => None,
    }
}

fn converses(asked: &Asked) -> bool {
    asked.resolved.model.as_ref().is_none_or(|model| model.kind == Kind::Chat && model.apis.converse != Some(false))
}

/// What to allow, and what else may be in the way.
fn grant(asked: &Asked) -> String {
    let command = format!("`iam-policy --models {}` prints it", shown(&asked.name));
    let Scope::Profile(_) = &asked.place.scope else {
        return format!("Grant bedrock:InvokeModel on the model in {} ({command}).", asked.place.region);
    };
    match &asked.place.destinations {
        Destinations::Among(regions) => {
            let regions = regions.iter().map(|region| &**region).collect::<Vec<_>>().join(", ");
            format!(
                "Grant bedrock:InvokeModel on the profile in {} and on the model in each of {regions} ({command}); one of them \
                 that a service control policy denies, or that the account has not enabled, fails every call.",
                asked.place.region
            )
        }
        _ => format!(
            "Grant bedrock:InvokeModel on the profile, on the model in {}, and on the model without a Region ({command}); a service \
             control policy that denies Regions has to except `unspecified`.",
            asked.place.region
        ),
    }
}

/// Asks for as short an answer as there can be.
async fn invoke(region: &Region, asked: &Asked) -> Check {
    let subject = format!("{}, called", asked.subject());
    if !converses(asked) {
        return Check::skipped(Group::Models, subject, "only models that converse are called");
    }
    // Some take no fewer than 16.
    let is_openai = asked.resolved.name.starts_with("openai.") || asked.resolved.name.contains("grok");
    let max_tokens = if is_openai { 16 } else { 1 };
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": max_tokens},
    });
    let call = Call { operation: Operation::Converse, headers: HeaderMap::new(), body: body.to_string().into() };
    let begun = tokio::time::Instant::now();
    match region.send(&asked.place.id, &call).await {
        Ok(_) => Check::ok(Group::Models, subject, format!("answered in {} ms", begun.elapsed().as_millis())),
        Err(failure) => {
            Check::failed(Group::Models, subject, failure.error.message(), "See what AWS says of the call.")
        }
    }
}
