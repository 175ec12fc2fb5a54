//! What the gateway itself asks of a Region's control plane, with the SDK's typed client: which models and inference
//! profiles are there. Enum values the SDK does not know pass as the text AWS sent.

use std::time::Duration;

use aws_sdk_bedrock::config::retry::RetryConfig;
use aws_sdk_bedrock::config::timeout::TimeoutConfig;
use aws_sdk_bedrock::config::{Builder, IdentityCache, Token};
use aws_sdk_bedrock::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::auth::http::HTTP_BEARER_AUTH_SCHEME_ID;
use aws_smithy_runtime_api::http::Response;

use super::classify::Failure;
use super::mask::masked_chain;
use super::region::{Access, Region};
use crate::error::{Error, Kind, Result};

/// For one page of a list.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One entry of `ListFoundationModels`.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_FoundationModelSummary.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    /// For example `amazon.nova-lite-v1:0`.
    pub id: String,
    /// For humans.
    pub name: String,
    /// For humans.
    pub provider: String,
    /// For example `TEXT`.
    pub input: Vec<String>,
    /// For example `TEXT`.
    pub output: Vec<String>,
    /// For example `ON_DEMAND`, `PROVISIONED`, `INFERENCE_PROFILE`.
    pub inference_types: Vec<String>,
    /// Whether it streams.
    pub streaming: bool,
    /// `ACTIVE` or `LEGACY`; empty when AWS does not say.
    pub lifecycle: String,
}

/// One entry of `ListInferenceProfiles`.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_InferenceProfileSummary.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSummary {
    /// For example `us.amazon.nova-lite-v1:0`.
    pub id: String,
    /// For humans.
    pub name: String,
    /// `SYSTEM_DEFINED` or `APPLICATION`.
    pub kind: String,
    /// `ACTIVE`.
    pub status: String,
    /// Where a call may be served: the Region (empty for a global destination) and the model's id there.
    pub destinations: Vec<(String, String)>,
}

impl Region {
    /// The typed client of the control plane: credentials and endpoint of this Region, no retries of its own.
    pub fn control(&self) -> &aws_sdk_bedrock::Client {
        let (cell, url, shared) = self.control_parts();
        cell.get_or_init(|| {
            let mut builder = Builder::from(&shared.sdk)
                .region(aws_sdk_bedrock::config::Region::new(self.name().to_string()))
                .retry_config(RetryConfig::disabled())
                .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build())
                .identity_cache(IdentityCache::no_cache());
            if let Some(url) = url {
                builder = builder.endpoint_url(url);
            }
            builder = match &shared.access {
                Access::Signature(credentials) => builder.credentials_provider(credentials.clone()),
                Access::Bearer { key, .. } => builder
                    .bearer_token(Token::new(key.expose(), None))
                    .auth_scheme_preference([HTTP_BEARER_AUTH_SCHEME_ID]),
            };
            aws_sdk_bedrock::Client::from_conf(builder.build())
        })
    }

    /// The foundation models that the Region lists.
    pub async fn list_models(&self) -> Result<Vec<ModelSummary>> {
        let answer = Box::pin(self.control().list_foundation_models().send()).await.map_err(|error| explain(&error))?;
        let models = answer.model_summaries.unwrap_or_default();
        Ok(models
            .into_iter()
            .map(|model| ModelSummary {
                input: texts(model.input_modalities()),
                output: texts(model.output_modalities()),
                inference_types: texts(model.inference_types_supported()),
                streaming: model.response_streaming_supported.unwrap_or(false),
                lifecycle: model.model_lifecycle().map_or_else(String::new, |l| l.status().as_str().to_owned()),
                id: model.model_id,
                name: model.model_name.unwrap_or_default(),
                provider: model.provider_name.unwrap_or_default(),
            })
            .collect())
    }

    /// The inference profiles, AWS's and the account's, that can be called from the Region.
    pub async fn list_profiles(&self) -> Result<Vec<ProfileSummary>> {
        let mut pages = self.control().list_inference_profiles().max_results(1000).into_paginator().items().send();
        let mut profiles = Vec::new();
        while let Some(profile) = Box::pin(pages.next()).await {
            let profile = profile.map_err(|error| explain(&error))?;
            profiles.push(ProfileSummary {
                kind: profile.r#type.as_str().to_owned(),
                status: profile.status.as_str().to_owned(),
                destinations: profile.models.iter().filter_map(|m| destination(m.model_arn()?)).collect(),
                id: profile.inference_profile_id,
                name: profile.inference_profile_name,
            });
        }
        Ok(profiles)
    }
}

fn texts<T: AsRef<str>>(values: &[T]) -> Vec<String> {
    values.iter().map(|value| value.as_ref().to_owned()).collect()
}

/// `arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0`; a global destination has no Region.
fn destination(arn: &str) -> Option<(String, String)> {
    let mut parts = arn.splitn(6, ':');
    let region = parts.nth(3)?;
    let (_, model) = parts.nth(1)?.split_once('/')?;
    Some((region.to_owned(), model.to_owned()))
}

fn explain<E>(error: &SdkError<E, Response>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = error {
        let (name, message) = (service.err().code(), service.err().message());
        let status = service.raw().status().as_u16();
        return Failure::from_exception(status, name.unwrap_or_default(), message.unwrap_or_default()).error;
    }
    let kind = if matches!(error, SdkError::TimeoutError(_)) { Kind::Timeout } else { Kind::UpstreamUnavailable };
    Error::new(kind, "AWS's control plane could not be asked.").source(masked_chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_from_their_arns() {
        let pair = |region: &str| Some((region.to_owned(), "amazon.nova-lite-v1:0".to_owned()));
        assert_eq!(destination("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"), pair("us-east-1"));
        assert_eq!(destination("arn:aws:bedrock:::foundation-model/amazon.nova-lite-v1:0"), pair(""));
        assert_eq!(destination("nonsense"), None);
    }
}
