//! How many tokens a request would be: asked of Bedrock's `CountTokens`, never estimated.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::converse::{Message, Object, Request, SystemBlock, ToolConfig};
use crate::error::{Error, Kind, Result};
use crate::gateway::{Asked, Gateway, Origin, Served};
use crate::tenancy::Caller;
use crate::upstream::{Call, Operation};

/// A request whose tokens are to be counted.
pub(super) struct Input(Bytes);

impl Input {
    /// The parts of a canonical request that are input.
    pub(super) fn converse(request: &Request) -> Result<Self> {
        let converse = Converse {
            messages: &request.messages,
            system: &request.system,
            tool_config: request.tool_config.as_ref(),
            additional_model_request_fields: &request.additional_model_request_fields,
        };
        let body = Body { input: Kinds { converse } };
        Ok(Self(serde_json::to_vec(&body).map_err(Error::internal)?.into()))
    }

    /// A body that already is what the model speaks.
    pub(super) fn native(body: &[u8]) -> Self {
        // Base64 needs no escapes.
        let mut text = String::with_capacity(body.len() / 3 * 4 + 64);
        text.push_str(r#"{"input":{"invokeModel":{"body":""#);
        STANDARD.encode_string(body, &mut text);
        text.push_str("\"}}}");
        Self(text.into())
    }

    /// The number of tokens. `instead` is what a caller may do when Bedrock does not count for this model at all.
    pub(super) async fn count(
        self,
        gateway: &Gateway,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        instead: &str,
    ) -> Result<(u64, Served)> {
        if model.resolved.model.is_none() {
            let message = "Bedrock counts tokens for foundation models alone, and this ARN does not tell which one is \
                           behind it: name the model.";
            return Err(Error::invalid("model", message));
        }
        let call = Call { operation: Operation::CountTokens, headers: HeaderMap::new(), body: self.0 };
        let answer = gateway.forward(caller, origin, model, call).await;
        let answer = answer.map_err(|error| explained(error, &model.name, instead))?;
        let counted: Counted = serde_json::from_slice(&answer.body.body).map_err(|error| {
            Error::new(Kind::UpstreamUnavailable, "Bedrock sent a count that could not be read.").source(error)
        })?;
        Ok((counted.input_tokens, answer.served))
    }
}

/// Bedrock's refusal to count for a model at all, with what to do instead.
fn explained(error: Error, model: &str, instead: &str) -> Error {
    let is_that = error.kind() == Kind::UpstreamRejected && error.message().contains("counting tokens");
    if !is_that {
        return error;
    }
    let message = format!("Bedrock does not count tokens for the model `{model}`. {instead}");
    Error::unsupported("model", message).source(error)
}

#[derive(Serialize)]
struct Body<'a> {
    input: Kinds<'a>,
}

#[derive(Serialize)]
struct Kinds<'a> {
    converse: Converse<'a>,
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Converse<'a> {
    messages: &'a [Message],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    system: &'a [SystemBlock],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<&'a ToolConfig>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    additional_model_request_fields: &'a Object,
}

/// Bedrock's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    input_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusal_to_count_at_all_is_put_into_other_words() {
        let refused =
            |message: &'static str| explained(Error::new(Kind::UpstreamRejected, message), "m", "Do without.");
        let error = refused("The provided model doesn't support counting tokens.");
        assert_eq!((error.kind(), error.blamed()), (Kind::Unsupported, Some("model")));
        assert!(error.message().ends_with("`m`. Do without."));
        assert_eq!(refused("messages: Field required").message(), "messages: Field required");
    }
}
