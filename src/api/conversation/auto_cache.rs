//! Cache points that nobody asked for by request: an alias may ask for them for all that name it.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>

use crate::catalog::Resolved;
use crate::config::PromptCache;
use crate::converse::{CachePoint, ContentBlock, Request, Role, SystemBlock, Tool};
use crate::families::Traits;

/// Puts cache points where they help, if the alias that was `asked` for has them put there by itself and the caller put
/// none: after the tools, after the instructions, and after what the user said last. A prompt too short to be worth it
/// Bedrock does not keep.
pub fn auto_cache(asked: &Resolved, traits: &Traits, request: &mut Request) {
    let Some(caching) = traits.caching.filter(|_| asked.prompt_cache == PromptCache::Auto) else { return };
    if has_points(request) {
        return;
    }
    let mut left = caching.max_points;
    let mut point = || {
        left = left.checked_sub(1)?;
        Some(CachePoint { kind: "default".to_owned(), ttl: None })
    };
    if let Some(config) = request.tool_config.as_mut().filter(|_| caching.tools) {
        config.tools.extend(point().map(Tool::CachePoint));
    }
    if !request.system.is_empty() {
        request.system.extend(point().map(SystemBlock::CachePoint));
    }
    if let Some(last) = request.messages.iter_mut().rfind(|message| message.role == Role::User) {
        last.content.extend(point().map(ContentBlock::CachePoint));
    }
}

fn has_points(request: &Request) -> bool {
    let mut tools = request.tool_config.iter().flat_map(|config| &config.tools);
    let mut blocks = request.messages.iter().flat_map(|message| &message.content);
    tools.any(|tool| matches!(tool, Tool::CachePoint(_)))
        || request.system.iter().any(|block| matches!(block, SystemBlock::CachePoint(_)))
        || blocks.any(|block| matches!(block, ContentBlock::CachePoint(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Catalog;
    use crate::config::Alias;
    use crate::families;

    fn cached(model: &str, prompt_cache: PromptCache, request: &Value) -> Value {
        let alias = Alias { alias: "house".into(), model: model.into(), prompt_cache, ..Alias::default() };
        let asked = Catalog::embedded(&[alias]).unwrap().resolve("house").unwrap();
        let mut request: Request = serde_json::from_value(request.clone()).unwrap();
        auto_cache(&asked, &families::traits(asked.model.as_deref()), &mut request);
        serde_json::to_value(request).unwrap()
    }

    fn plain() -> Value {
        json!({
            "messages": [
                {"role": "user", "content": [{"text": "a"}]},
                {"role": "assistant", "content": [{"text": "b"}]},
                {"role": "user", "content": [{"text": "c"}]},
                {"role": "assistant", "content": [{"text": "d"}]},
            ],
            "system": [{"text": "s"}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]},
        })
    }

    #[test]
    fn points_follow_tools_instructions_and_the_last_turn_of_the_user_as_far_as_the_model_takes_them() {
        let point = json!({"cachePoint": {"type": "default"}});
        let claude = cached("claude-haiku-4-5", PromptCache::Auto, &plain());
        let places = ["/toolConfig/tools/1", "/system/1", "/messages/2/content/1"];
        assert!(places.iter().all(|place| claude.pointer(place) == Some(&point)), "{claude}");
        assert_eq!(claude.to_string().matches("cachePoint").count(), 3);
        let nova = cached("nova-lite", PromptCache::Auto, &plain());
        assert!(places[1..].iter().all(|place| nova.pointer(place) == Some(&point)), "{nova}");
        assert_eq!(nova.to_string().matches("cachePoint").count(), 2, "Nova takes none after tools");
        assert_eq!(cached("llama3-3-70b-instruct", PromptCache::Auto, &plain()), plain());
        let bare = json!({"messages": [{"role": "user", "content": [{"text": "a"}]}]});
        let bare = cached("nova-lite", PromptCache::Auto, &bare);
        assert_eq!(bare, json!({"messages": [{"role": "user", "content": [{"text": "a"}, point]}]}));
    }

    #[test]
    fn who_marks_the_prompt_or_did_not_ask_is_left_alone() {
        assert_eq!(cached("claude-haiku-4-5", PromptCache::Explicit, &plain()), plain());
        let point = json!({"cachePoint": {"type": "default"}});
        for list in ["/toolConfig/tools", "/system", "/messages/0/content"] {
            let mut marked = plain();
            marked.pointer_mut(list).unwrap().as_array_mut().unwrap().push(point.clone());
            assert_eq!(cached("claude-haiku-4-5", PromptCache::Auto, &marked), marked, "{list}");
        }
    }
}
