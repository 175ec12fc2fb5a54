//! Which way a message goes to its model.

use crate::catalog::Model;

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

/// The ARNs that hide their model and may be called with its native body. Who speaks Anthropic's dialect to one of these
/// means a Claude behind it, and a translation would lose what only Claude has. What is behind routers and stored prompts
/// may be anything, and imported models are none of Anthropic's: those get the translation.
const HIDING: [&str; 2] = ["application-inference-profile", "provisioned-model"];

/// The lane for `model`, or, when an ARN hides it, for that type of resource.
///
/// Claude takes Anthropic's bytes as they are. `InvokeModel` comes first because it is what most Claude models have, and
/// what has guardrails by header; the models that have only the runtime's own messages path get that one.
pub(in crate::api) fn choose(model: Option<&Model>, resource: &str) -> Lane {
    let Some(model) = model else {
        return if HIDING.contains(&resource) { Lane::Invoke } else { Lane::Converse };
    };
    if !model.id.starts_with("anthropic.") {
        return Lane::Converse;
    }
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

    #[test]
    fn claude_gets_the_bytes_and_the_others_a_translation() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let lane = |name: &str| {
            let resolved = catalog.resolve(name).unwrap();
            choose(resolved.model.as_deref(), &resolved.name)
        };
        assert_eq!(lane("claude-haiku-4-5"), Lane::Invoke);
        assert_eq!(lane("us.anthropic.claude-haiku-4-5-20251001-v1:0"), Lane::Invoke);
        assert_eq!(lane("claude-opus-5-5"), Lane::Messages);
        assert_eq!(lane("nova-lite"), Lane::Converse);
        let arn = |resource: &str| lane(&format!("arn:aws:bedrock:us-east-1:000000000000:{resource}/abc"));
        assert_eq!(arn("application-inference-profile"), Lane::Invoke);
        assert_eq!(arn("imported-model"), Lane::Converse);
    }

    #[test]
    fn a_claude_whose_apis_are_not_known_is_invoked() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let mut model = catalog.resolve("claude-haiku-4-5").unwrap().model.unwrap().as_ref().clone();
        model.apis.invoke = None;
        assert_eq!(choose(Some(&model), ""), Lane::Invoke);
        model.apis.messages = Some(true);
        assert_eq!(choose(Some(&model), ""), Lane::Messages);
    }
}
