//! What an ARN that hides its model stands for, and which of Bedrock's APIs take it.

use super::Resolved;
use super::arn::{self, Resource};

/// What an ARN stands for that names neither a foundation model nor a system profile. Each lives in one Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// A team's own inference profile.
    ApplicationProfile,
    /// Capacity that is paid for by the hour.
    Provisioned,
    /// A customised model.
    Custom,
    /// A customised model that is called on demand.
    Deployment,
    /// A model that was brought along.
    Imported,
    /// A choice between models, made for each prompt.
    Router,
    /// A stored prompt, with the model it is for.
    Prompt,
    /// A model of the Marketplace on an endpoint of its own.
    Endpoint,
}

impl Hosting {
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            arn::APPLICATION_PROFILE => Self::ApplicationProfile,
            "provisioned-model" => Self::Provisioned,
            "custom-model" => Self::Custom,
            "custom-model-deployment" => Self::Deployment,
            "imported-model" => Self::Imported,
            "prompt-router" | "default-prompt-router" => Self::Router,
            "prompt" => Self::Prompt,
            "sagemaker-endpoint" => Self::Endpoint,
            _ => return None,
        })
    }

    /// Whether Converse takes it: "The Converse API doesn't support imported models."
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
    pub fn converses(self) -> bool {
        self != Self::Imported
    }

    /// Whether it takes the model's own body by `InvokeModel` as the model does. What a router chose is told by Converse
    /// alone, and a stored prompt or an endpoint may want another body than its model's.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
    pub fn takes_own_body(self) -> bool {
        !matches!(self, Self::Router | Self::Prompt | Self::Endpoint)
    }

    /// Whether the runtime's chat completions and messages take it as the `model` of a body, as they take profiles.
    /// Responses take none of these: not even application profiles.
    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html>
    pub fn is_named_in_bodies(self) -> bool {
        self == Self::ApplicationProfile
    }
}

impl Resolved {
    /// What hides the model, whether or not somebody told which it is; `None` when the model is called by a name of its own.
    pub fn hosting(&self) -> Option<Hosting> {
        if !self.target.is_arn {
            return None;
        }
        let place = self.target.places.values().flatten().next()?;
        match arn::parse(&place.id)?.ok()?.resource {
            Resource::Opaque(kind) => Hosting::of(kind),
            Resource::Known(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::config::Config;

    #[test]
    fn each_kind_of_arn_is_known_and_names_are_none() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let hosting = |name: &str| catalog.resolve(name).unwrap().hosting();
        let arn = |resource: &str| hosting(&format!("arn:aws:bedrock:us-east-1:000000000000:{resource}"));
        for (resource, expected) in [
            ("application-inference-profile/a1", Hosting::ApplicationProfile),
            ("provisioned-model/a1", Hosting::Provisioned),
            ("custom-model/amazon.nova-lite-v1:0/a1", Hosting::Custom),
            ("custom-model-deployment/a1", Hosting::Deployment),
            ("imported-model/a1", Hosting::Imported),
            ("prompt-router/a1", Hosting::Router),
            ("default-prompt-router/a1:1", Hosting::Router),
            ("prompt/ABCDEFGHIJ:1", Hosting::Prompt),
        ] {
            assert_eq!(arn(resource), Some(expected), "{resource}");
        }
        let endpoint = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e";
        assert_eq!(hosting(endpoint), Some(Hosting::Endpoint));
        for name in [
            "claude-haiku-4-5",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0",
        ] {
            assert_eq!(hosting(name), None, "{name}");
        }
    }
}
