//! `ApplyGuardrail`: a guardrail on text and images, without a model.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html>

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use http::Method;

use super::error;
use super::runtime::{check, origin, respond};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Segments};
use crate::error::{Error, Result};
use crate::gateway::{Charge, Gateway, Target, Trail};
use crate::report::Report;
use crate::tenancy::Caller;
use crate::upstream::PlainCall;

/// ApplyGuardrail
///
/// AWS's own operation: the body goes to the guardrail byte for byte. A guardrail belongs to one Region: an ARN names
/// it; an id is looked for in every Region that the key may use.
#[utoipa::path(
    post,
    path = "/guardrail/{guardrail}/version/{version}/apply",
    tag = "Bedrock runtime",
    params(
        ("guardrail" = String, Path, description = "Id or ARN, percent-encoded as one segment."),
        ("version" = String, Path, description = "A number, or DRAFT."),
    ),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "As AWS answers.", body = serde_json::Value), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn apply(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    Segments(guardrail, version): Segments,
    Body(body): Body,
) -> Result<Response> {
    let (id, region) = locate(&guardrail)?;
    if version != "DRAFT" && !is_number(&version) {
        return Err(Error::invalid("guardrailVersion", "The guardrail version must be a number or DRAFT."));
    }
    check(&body)?;
    let call = PlainCall::new(Method::POST, ["guardrail", &guardrail, "version", &version, "apply"]).body(body);
    // By text units, which no header or body tells in a way that could be priced.
    let target = Target { sort: "guardrail", id, region, charge: Charge::Otherwise };
    let answer = gateway.forward_plain(&caller, origin("apply_guardrail", trail), target, &call).await?;
    let response = respond(&answer.body.headers, HttpBody::from(answer.body.body));
    Ok(annotate(response, &answer.served, &Report::default()))
}

/// The guardrail's id and, of an ARN, its Region.
fn locate(guardrail: &str) -> Result<(&str, Option<&str>)> {
    let is_id = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_id(guardrail) && guardrail.len() <= 2048 {
        return Ok((guardrail, None));
    }
    let parts: Vec<&str> = guardrail.split(':').collect();
    if let ["arn", partition, "bedrock", region, account, resource] = parts[..]
        && let Some(id) = resource.strip_prefix("guardrail/")
        && (partition == "aws" || partition.starts_with("aws-"))
        && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && is_id(id)
    {
        return Ok((id, Some(region)));
    }
    let message = "The guardrail must be an id of lowercase letters and digits, or an ARN that looks like \
                   arn:aws:bedrock:REGION:ACCOUNT:guardrail/ID.";
    Err(Error::invalid("guardrailIdentifier", message))
}

/// A version as AWS numbers them: 1 to 99999999.
fn is_number(version: &str) -> bool {
    (1..=8).contains(&version.len()) && !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_the_region_and_an_id_does_not() {
        assert_eq!(locate("abc123").unwrap(), ("abc123", None));
        let arn = "arn:aws-us-gov:bedrock:us-gov-west-1:000000000000:guardrail/abc123";
        assert_eq!(locate(arn).unwrap(), ("abc123", Some("us-gov-west-1")));
    }

    #[test]
    fn what_is_no_guardrail_does_not_travel_and_no_account_is_repeated() {
        for bad in [
            "",
            "..",
            "A",
            "a/b",
            "arn:aws:bedrock:us-east-1:000000000000:guardrail/",
            "arn:aws:bedrock:us-east-1:000000000000:guardrail/a/b",
            "arn:aws:bedrock:us-east-1:000000000000:custom-model/a",
            "arn:aws:bedrock:us-east-1::guardrail/a",
            "arn:aws:s3:us-east-1:000000000000:guardrail/a",
        ] {
            let error = locate(bad).unwrap_err();
            assert_eq!(error.blamed(), Some("guardrailIdentifier"), "{bad}");
            assert!(!error.message().contains("000000000000"));
        }
        assert!(is_number("1") && is_number("99999999"));
        assert!(!is_number("0") && !is_number("01") && !is_number("123456789") && !is_number("one"));
    }
}
