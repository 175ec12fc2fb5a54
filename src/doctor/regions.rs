//! Whether both planes of each Region answer, and how fast.

use futures_util::{StreamExt as _, stream};
use http::Method;
use serde::Deserialize;

use super::{AT_ONCE, Check, Examined, Group, Standing, told, within};
use crate::upstream::{PlainCall, Region, Service, Told, Unreachable};

/// Of each Region the runtime first.
pub(super) async fn look(examined: &Examined<'_>, standing: &Standing) -> Vec<Check> {
    let planes =
        examined.upstream.regions().flat_map(|region| [(region, Service::Runtime), (region, Service::Control)]);
    let opt_in = |region: &Region| examined.catalog.region(region.name()).is_some_and(|known| known.opt_in);
    let looks = planes.map(|(region, plane)| {
        let what = What { standing, opt_in: opt_in(region) };
        async move {
            let subject =
                format!("{} {}", region.name(), if plane == Service::Runtime { "runtime" } else { "control" });
            within(Group::Regions, &subject, async { vec![look_at(region, plane, &subject, &what).await] }).await
        }
    });
    // Made before they run: a closure's borrow does not live as long as the stream that polls it.
    let looks: Vec<_> = looks.collect();
    stream::iter(looks).buffered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

/// What is known before.
struct What<'a> {
    standing: &'a Standing,
    /// Whether an account has to enable the Region first.
    opt_in: bool,
}

async fn look_at(region: &Region, plane: Service, subject: &str, what: &What<'_>) -> Check {
    // Needs no permission to be answered: a refusal is an answer too.
    let call = match plane {
        Service::Runtime => PlainCall::new(Method::GET, ["async-invoke"]).query([("maxResults", "1")]),
        _ => PlainCall::new(Method::GET, ["foundation-models"]),
    };
    match region.ask(plane, &call).await {
        Ok(told) => judge(&told, plane, subject, what),
        Err(Unreachable::Credentials(_)) if *what.standing == Standing::Nobody => {
            Check::skipped(Group::Regions, subject, "needs credentials")
        }
        Err(unreachable) => {
            let (found, remedy) = told(&unreachable);
            Check::failed(Group::Regions, subject, found, remedy)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Models {
    model_summaries: Vec<serde::de::IgnoredAny>,
}

fn judge(told: &Told, plane: Service, subject: &str, what: &What<'_>) -> Check {
    let time = format!("answers in {} ms", told.took.as_millis());
    let is_known = matches!(what.standing, Standing::Known { .. });
    match (told.status, told.code.as_str()) {
        (_, "UnrecognizedClientException" | "InvalidClientTokenId") if is_known => Check::failed(
            Group::Regions,
            subject,
            "the Region does not know the account, whose credentials are good",
            if what.opt_in {
                "Enable the Region for the account (Account settings, or account:EnableRegion), or take it out of aws.regions."
            } else {
                "Ask whether the account may use the Region, or take it out of aws.regions."
            },
        ),
        (500.., code) => Check::warning(
            Group::Regions,
            subject,
            format!("answers with {} {code}", told.status),
            "AWS has trouble in this Region; see the AWS Health Dashboard. Calls go to the other Regions meanwhile.",
        ),
        (401 | 403, _) if *what.standing == Standing::Nobody => {
            Check::skipped(Group::Regions, subject, format!("{time}; the rest needs credentials"))
        }
        (401 | 403, code) if plane == Service::Control => Check::warning(
            Group::Regions,
            subject,
            format!("{time}, but does not list its models: {}", said(code, &told.message)),
            "Grant bedrock:ListFoundationModels (`iam-policy` prints it): the catalog is refreshed by it.",
        ),
        (200, _) if plane == Service::Control => match serde_json::from_slice::<Models>(&told.body) {
            Ok(models) => {
                Check::ok(Group::Regions, subject, format!("{time}, lists {} models", models.model_summaries.len()))
            }
            Err(_) => Check::failed(
                Group::Regions,
                subject,
                format!("{time}, but not as Bedrock does"),
                "Check aws.endpoints.",
            ),
        },
        (300.., "") => Check::warning(
            Group::Regions,
            subject,
            format!("{time} with {}, but not as Bedrock does", told.status),
            "Check aws.endpoints, and whether a proxy answers instead.",
        ),
        _ => Check::ok(Group::Regions, subject, time),
    }
}

/// An error of AWS in a few words.
pub(super) fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => "no reason given".to_owned(),
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    }
}
