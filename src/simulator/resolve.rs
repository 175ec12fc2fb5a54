//! What a model identifier means in a Region: a model, a system profile, or a resource of the account behind an ARN. AWS's order of
//! refusals is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Settings;
use super::catalog::{self, Catalog, Model, Routing};
use super::errors::Failure;

/// A model as one call means it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) model: Arc<Model>,
    /// The Region that was called.
    pub(crate) region: String,
    /// The system profile that the call goes through.
    pub(crate) routing: Option<Routing>,
    /// The account's resource that the call names: `application-inference-profile/...`, `provisioned-model/...`, ...
    pub(crate) resource: Option<String>,
}

impl Target {
    /// The kind of the account's resource that the call names; empty when it names none.
    pub(crate) fn kind(&self) -> &str {
        self.resource.as_deref().and_then(|resource| resource.split_once('/')).map_or("", |(kind, _)| kind)
    }

    /// Whose quota the call uses: a deployment's own, that of the system profile, or that of the model in its Region.
    pub(crate) fn quota_id(&self) -> &str {
        match (&self.resource, &self.routing) {
            (Some(resource), _) if resource.starts_with("custom-model-deployment/") => resource,
            (_, Some(routing)) => &routing.profile.id,
            (_, None) => &self.model.id,
        }
    }

    /// Whether capacity that was bought serves the call, so that the on-demand quotas do not count.
    pub(crate) fn is_provisioned(&self) -> bool {
        matches!(self.kind(), "provisioned-model" | "imported-model")
    }

    /// The ARN of the model or system profile that serves the call.
    pub(crate) fn served_by(&self, partition: &str, account: &str) -> String {
        match &self.routing {
            Some(routing) => {
                format!("arn:{partition}:bedrock:{}:{account}:inference-profile/{}", self.region, routing.profile.id)
            }
            None => format!("arn:{partition}:bedrock:{}::foundation-model/{}", self.region, self.model.id),
        }
    }
}

/// Where identifiers are looked up.
pub(crate) struct Resolver<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) settings: &'a Settings,
    pub(crate) region: &'a str,
    /// `YYYY-MM-DD`.
    pub(crate) today: &'a str,
}

fn invalid() -> Failure {
    Failure::validation("The provided model identifier is invalid.")
}

fn unresolved() -> Failure {
    Failure::not_found("Could not resolve the foundation model from the provided model identifier.")
}

impl Resolver<'_> {
    /// What `identifier` means, or AWS's refusal of it. A prompt router takes its model number `turn`, counted round.
    pub(crate) fn resolve(&self, identifier: &str, turn: usize) -> Result<Target, Failure> {
        let Some(arn) = identifier.strip_prefix("arn:") else { return self.named(identifier) };
        let parts: Vec<&str> = arn.splitn(5, ':').collect();
        let [partition, "bedrock", region, account, resource] = parts[..] else { return Err(invalid()) };
        let (kind, id) = resource.split_once('/').ok_or_else(invalid)?;
        let owner = if kind == "foundation-model" { "" } else { &self.settings.account };
        if region != self.region || Some(partition) != catalog::partition(region) || account != owner {
            return Err(invalid());
        }
        let target = match kind {
            "foundation-model" => return self.named(id),
            "inference-profile" => {
                self.catalog.profile(id, self.region).ok_or_else(invalid)?;
                return self.named(id);
            }
            "application-inference-profile" => {
                let source = self.settings.application_profiles.get(id).ok_or_else(|| {
                    Failure::not_found("Could not find the inference profile from the provided model identifier.")
                })?;
                self.named(source)?
            }
            "provisioned-model" => self.owned(&self.settings.provisioned_models, id)?,
            "custom-model" => self.owned(&self.settings.custom_models, id)?,
            "custom-model-deployment" => self.owned(&self.settings.custom_model_deployments, id)?,
            "imported-model" => self.owned(&self.settings.imported_models, id)?,
            "prompt-router" | "default-prompt-router" => {
                let models = self.settings.prompt_routers.get(id).filter(|models| !models.is_empty());
                let models = models.ok_or_else(unresolved)?;
                self.named(&models[turn % models.len()])?
            }
            _ => return Err(unresolved()),
        };
        Ok(Target { resource: Some(resource.to_owned()), ..target })
    }

    /// A model that `resources` has under the last part of `id`. It is served wherever its resource is.
    fn owned(&self, resources: &BTreeMap<String, String>, id: &str) -> Result<Target, Failure> {
        let name = id.rsplit('/').next().unwrap_or(id);
        let model = resources.get(name).and_then(|base| self.catalog.model(base)).ok_or_else(unresolved)?;
        Ok(Target { model: Arc::clone(model), region: self.region.to_owned(), routing: None, resource: None })
    }

    fn named(&self, id: &str) -> Result<Target, Failure> {
        let routing = self.catalog.profile(id, self.region);
        let base = routing.as_ref().map_or(id, |routing| &routing.profile.model);
        let model = self.catalog.model(base).ok_or_else(invalid)?;
        if model.withdrawn(self.today) {
            return Err(Failure::not_found(
                "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
            ));
        }
        if routing.is_none() && !model.on_demand_in(self.region) {
            return Err(match self.catalog.profile_of(model, self.region) {
                None => invalid(),
                Some(_) => Failure::validation(format!(
                    "Invocation of model ID {id} with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or \
                     ARN of an inference profile that contains this model."
                )),
            });
        }
        Ok(Target { model: Arc::clone(model), region: self.region.to_owned(), routing, resource: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
    const NOVA: &str = "amazon.nova-lite-v1:0";

    fn resolved(region: &str, id: &str) -> Result<String, String> {
        let named = |id: &str, model: &str| BTreeMap::from([(id.to_owned(), model.to_owned())]);
        let settings = Settings {
            application_profiles: named("abcdefghijkl", &format!("us.{HAIKU}")),
            provisioned_models: named("provisioned1", HAIKU),
            custom_models: named("customcustom", NOVA),
            imported_models: named("importimport", "us.meta.llama3-3-70b-instruct-v1:0"),
            prompt_routers: BTreeMap::from([("claude:1".to_owned(), vec![format!("us.{HAIKU}"), NOVA.to_owned()])]),
            ..Settings::default()
        };
        let catalog = Catalog::compiled();
        let resolver = Resolver { catalog: &catalog, settings: &settings, region, today: "2026-11-22" };
        resolver.resolve(id, 0).map(|target| target.model.id.clone()).map_err(|failure| failure.message)
    }

    fn arn(resource: &str) -> String {
        format!("arn:aws:bedrock:us-east-1:000000000000:{resource}")
    }

    #[test]
    fn profiles_arns_and_resources_of_the_account_resolve_where_they_are() {
        for (id, model) in [
            (format!("us.{HAIKU}"), HAIKU),
            (format!("global.{HAIKU}"), HAIKU),
            (arn(&format!("inference-profile/us.{HAIKU}")), HAIKU),
            (arn("application-inference-profile/abcdefghijkl"), HAIKU),
            (arn("provisioned-model/provisioned1"), HAIKU),
            (arn("custom-model/amazon.nova-lite-v1:0:300k/customcustom"), NOVA),
            (arn("default-prompt-router/claude:1"), HAIKU),
        ] {
            assert_eq!(resolved("us-east-1", &id).as_deref(), Ok(model), "{id}");
        }
        assert!(resolved("eu-west-1", &format!("us.{HAIKU}")).unwrap_err().contains("identifier is invalid"));
        assert!(resolved("us-east-1", NOVA).is_ok());
    }

    #[test]
    fn refusals_are_worded_as_aws_words_them() {
        assert!(resolved("us-east-1", HAIKU).unwrap_err().contains("isn\u{2019}t supported. Retry your request"));
        assert!(resolved("us-east-1", "anthropic.claude-3-sonnet-20240229-v1:0").is_err());
        for id in [
            "no.such-model".to_owned(),
            arn(&format!("foundation-model/{NOVA}")),
            arn(&format!("inference-profile/{NOVA}")),
            arn("provisioned-model/provisioned1").replace("us-east-1", "us-west-2"),
            arn("provisioned-model/provisioned1").replace("000000000000", "111111111111"),
            arn("provisioned-model/provisioned1").replace("arn:aws:", "arn:aws-us-gov:"),
        ] {
            assert!(resolved("us-east-1", &id).unwrap_err().contains("identifier is invalid"), "{id}");
        }
        // What was imported is no row of the catalog by a profile's id.
        for id in ["provisioned-model/other", "imported-model/importimport", "flying-model/abcdefghijkl"] {
            assert!(resolved("us-east-1", &arn(id)).unwrap_err().contains("Could not resolve"), "{id}");
        }
    }
}
