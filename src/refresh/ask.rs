//! What one Region has, asked of its control plane: bounded in time and pages, with one repeat where that may help.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::Method;

use crate::catalog::{Observed, Problem};
use crate::error::Error;
use crate::upstream::{Failure, PlainCall, Reason, Region, Reply};

/// All answers of a Region together are waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// AWS gives at most a thousand profiles a page.
const PAGE: &str = "1000";
/// A Region has some hundred profiles; who tells of more pages than this counts in circles.
const PAGES: usize = 20;
/// Of profiles whose destinations the list leaves out so many are asked for.
const SINGLE: usize = 100;
/// So many at a time: `GetInferenceProfile` is throttled per account.
const AT_A_TIME: usize = 4;
/// A throttled call is repeated after this, or what AWS asks for if that is not much longer, and up to as much again.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// More of an error says nothing more.
const MESSAGE: usize = 300;

/// The models and profiles of `region`.
pub(super) async fn ask(region: &Region) -> Result<Observed, Problem> {
    let Ok(answer) = tokio::time::timeout(PATIENCE, lists(region)).await else {
        let message = format!("AWS did not answer within {} seconds.", PATIENCE.as_secs());
        return Err(Problem { result: Reason::Timeout.into(), message });
    };
    answer
}

async fn lists(region: &Region) -> Result<Observed, Problem> {
    let mut observed = Observed::new(region.name().clone());
    let models = PlainCall::new(Method::GET, ["foundation-models"]);
    let (models, ()) = tokio::try_join!(call(region, &models), profiles(region, &mut observed))?;
    observed.add_models(&models.body).map_err(|error| unreadable(&error))?;
    if observed.models() == 0 {
        // No Region with Bedrock has none. To believe it would be to take everything away.
        return Err(Problem { result: "unreadable", message: "AWS listed no model.".into() });
    }
    destinations(region, &mut observed).await;
    Ok(observed)
}

/// Adds all pages of profiles.
async fn profiles(region: &Region, observed: &mut Observed) -> Result<(), Problem> {
    let mut token: Option<String> = None;
    for _ in 0..PAGES {
        let mut query = vec![("maxResults", PAGE), ("type", "SYSTEM_DEFINED")];
        query.extend(token.as_deref().map(|token| ("nextToken", token)));
        let page = call(region, &PlainCall::new(Method::GET, ["inference-profiles"]).query(query)).await?;
        token = observed.add_profiles(&page.body).map_err(|error| unreadable(&error))?;
        if token.is_none() {
            return Ok(());
        }
    }
    observed.cut_short();
    Ok(())
}

/// Asks for the destinations that the list left out. What is not told stays unknown, which keeps the profile outside of every
/// fence.
async fn destinations(region: &Region, observed: &mut Observed) {
    let unrouted: Vec<String> = observed.unrouted().take(SINGLE).map(str::to_owned).collect();
    let asked = stream::iter(unrouted).map(|id| async move {
        let told = call(region, &PlainCall::new(Method::GET, ["inference-profiles", &id])).await.ok()?;
        Some((id, told))
    });
    let mut told = std::pin::pin!(asked.buffer_unordered(AT_A_TIME));
    while let Some(told) = told.next().await {
        if let Some((id, told)) = told {
            observed.add_destinations(&id, &told.body);
        }
    }
}

/// One call; a second one when AWS is busy.
async fn call(region: &Region, call: &PlainCall) -> Result<Reply, Problem> {
    let failure = match region.control(call).await {
        Ok(reply) => return Ok(reply),
        Err(failure) => failure,
    };
    if !matches!(failure.reason, Reason::Throttled | Reason::Unavailable) {
        return Err(problem(&failure));
    }
    let pause = failure.retry_after.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE);
    tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64())).await;
    region.control(call).await.map_err(|failure| problem(&failure))
}

fn problem(failure: &Failure) -> Problem {
    let message = match failure.reason {
        Reason::Denied => {
            "The gateway may not ask: grant it bedrock:ListFoundationModels, bedrock:ListInferenceProfiles and \
                           bedrock:GetInferenceProfile. Until then what is known of the Region stays as it is."
                .to_owned()
        }
        _ => failure.error.message().chars().take(MESSAGE).collect(),
    };
    Problem { result: failure.reason.into(), message }
}

fn unreadable(error: &Error) -> Problem {
    Problem { result: "unreadable", message: error.causes().chars().take(MESSAGE).collect() }
}
