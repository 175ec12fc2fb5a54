//! Which way a message goes to its model.

use crate::catalog::{Hosting, Model, Resolved};
use crate::tenancy::Caller;

/// A way to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Lane {
    /// `InvokeModel` with the caller's own bytes.
    Invoke,
    /// The runtime's `/anthropic/v1/messages` with the caller's own bytes.
    Messages,
    /// `Converse` with a translation.
    Converse,
}

/// The lane for what a name stands for.
///
/// Claude takes Anthropic's bytes as they are. `InvokeModel` comes first because it is what most Claude models have, and
/// what has guardrails by header; the models that have only the runtime's own messages path get that one, if they can be
/// named in a body.
///
/// Where an ARN hides its model and nobody tells it, who speaks Anthropic's dialect to an application profile or to
/// provisioned capacity means a Claude behind it, and a translation would lose what only Claude has. What is behind
/// routers and stored prompts may be anything, and imported models are none of Anthropic's: those get the translation.
pub(super) fn choose(resolved: &Resolved) -> Lane {
    let hosting = resolved.hosting();
    let Some(model) = resolved.model.as_deref() else {
        let is_claude = matches!(hosting, Some(Hosting::ApplicationProfile | Hosting::Provisioned));
        return if is_claude { Lane::Invoke } else { Lane::Converse };
    };
    if !model.id.starts_with("anthropic.") || !hosting.is_none_or(Hosting::takes_own_body) {
        return Lane::Converse;
    }
    match of_claude(model) {
        Lane::Messages if !hosting.is_none_or(Hosting::is_named_in_bodies) => Lane::Invoke,
        lane => lane,
    }
}

/// The same for a caller. AWS does not say that the runtime's own messages path takes a guardrail: where the team has one,
/// another lane is taken, if the model has one.
pub(super) fn choose_for(caller: &Caller, resolved: &Resolved) -> Lane {
    match choose(resolved) {
        Lane::Messages if caller.team.guardrail.is_some() => guarded(resolved),
        lane => lane,
    }
}

/// The lane beside the messages path: the model's own bytes where nobody says that they are refused.
fn guarded(resolved: &Resolved) -> Lane {
    let Some(model) = resolved.model.as_deref() else { return Lane::Messages };
    match (model.apis.invoke, model.apis.converse) {
        (Some(false), Some(false)) => Lane::Messages,
        (Some(false), _) => Lane::Converse,
        _ => Lane::Invoke,
    }
}

/// The lane for a model by its own name.
pub(in crate::api) fn of_model(model: &Model) -> Lane {
    if model.id.starts_with("anthropic.") { of_claude(model) } else { Lane::Converse }
}

fn of_claude(model: &Model) -> Lane {
    match (model.apis.invoke, model.apis.messages) {
        (Some(true), _) | (_, None | Some(false)) => Lane::Invoke,
        (_, Some(true)) => Lane::Messages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::config::Config;

    fn lane(name: &str) -> Lane {
        choose(&Catalog::configured(&Config::default()).unwrap().resolve(name).unwrap())
    }

    fn arn(resource: &str) -> String {
        format!("arn:aws:bedrock:us-east-1:000000000000:{resource}/abc")
    }

    #[test]
    fn claude_gets_the_bytes_and_the_others_a_translation() {
        assert_eq!(lane("claude-haiku-4-5"), Lane::Invoke);
        assert_eq!(lane("us.anthropic.claude-haiku-4-5-20251001-v1:0"), Lane::Invoke);
        assert_eq!(lane("claude-opus-5-5"), Lane::Messages);
        assert_eq!(lane("nova-lite"), Lane::Converse);
        assert_eq!(lane(&arn("application-inference-profile")), Lane::Invoke);
        assert_eq!(lane(&arn("provisioned-model")), Lane::Invoke);
        assert_eq!(lane(&arn("imported-model")), Lane::Converse);
        assert_eq!(lane(&arn("custom-model-deployment")), Lane::Converse);
    }

    #[test]
    fn an_alias_that_tells_the_model_behind_an_arn_tells_the_lane() {
        let lane = |resource: &str, base: &str| {
            let mut config = Config::default();
            config.models.push(crate::config::Alias {
                alias: "mine".into(),
                model: arn(resource),
                base: Some(base.into()),
                ..crate::config::Alias::default()
            });
            choose(&Catalog::configured(&config).unwrap().resolve("mine").unwrap())
        };
        assert_eq!(lane("custom-model-deployment", "claude-haiku-4-5"), Lane::Invoke);
        assert_eq!(lane("prompt-router", "claude-haiku-4-5"), Lane::Converse);
        assert_eq!(lane("provisioned-model", "nova-lite"), Lane::Converse);
        assert_eq!(lane("provisioned-model", "claude-opus-5-5"), Lane::Invoke);
        assert_eq!(lane("application-inference-profile", "claude-opus-5-5"), Lane::Messages);
    }

    #[test]
    fn what_has_to_be_guarded_goes_by_another_lane_than_messages_if_there_is_one() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let lane = |name: &str| guarded(&catalog.resolve(name).unwrap());
        assert_eq!(lane("claude-opus-5-5"), Lane::Invoke, "nobody says that it is not invoked");
        assert_eq!(lane("claude-mythos-5"), Lane::Messages, "there is no other, and the gateway refuses the call");
    }

    #[test]
    fn a_claude_whose_apis_are_not_known_is_invoked() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let mut resolved = catalog.resolve("claude-haiku-4-5").unwrap();
        let mut model = resolved.model.clone().unwrap().as_ref().clone();
        model.apis.invoke = None;
        resolved.model = Some(model.clone().into());
        assert_eq!(choose(&resolved), Lane::Invoke);
        model.apis.messages = Some(true);
        resolved.model = Some(model.into());
        assert_eq!(choose(&resolved), Lane::Messages);
    }
}
