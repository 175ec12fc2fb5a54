//! What OpenTelemetry's conventions for generative AI call things: metrics and spans say the same.
//! <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>

use crate::catalog::Kind;

/// `gen_ai.operation.name` of a call: what was asked for where that is no inference, else what the model does. The
/// convention has a value of its own for the first three; the others are named like ours, as it allows.
pub(super) fn operation_name(operation: &str, model: Option<Kind>) -> &'static str {
    match (operation, model) {
        ("count_tokens" | "input_tokens", _) => "count_tokens",
        ("apply_guardrail", _) => "apply_guardrail",
        ("start_async_invoke" | "get_async_invoke", _) => "async_invoke",
        (_, Some(Kind::Embedding)) => "embeddings",
        (_, Some(Kind::Image | Kind::ImageEdit | Kind::Video)) => "generate_content",
        (_, Some(Kind::Rerank)) => "rerank",
        // What a custom model does is not known; the APIs that take one are those of conversations.
        (_, Some(Kind::Chat | Kind::Realtime | Kind::Other) | None) => "chat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_inference_goes_by_its_own_name_and_the_rest_by_what_the_model_does() {
        assert_eq!(operation_name("messages", Some(Kind::Chat)), "chat");
        assert_eq!(operation_name("invoke_model", Some(Kind::Embedding)), "embeddings");
        assert_eq!(operation_name("images", Some(Kind::Image)), "generate_content");
        assert_eq!(operation_name("input_tokens", Some(Kind::Chat)), "count_tokens");
        assert_eq!(operation_name("converse", None), "chat");
    }
}
