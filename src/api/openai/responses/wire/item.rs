//! The items a conversation is made of, as a client sends them and as the store keeps them: they are written as they
//! were read. Null counts as absent throughout.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::conversation::picture_type;
use crate::api::openai::wire::{CacheBreakpoint, TextOrList, Url};
use crate::converse::Object;

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ResponsesRole)]
pub enum Role {
    /// The caller.
    User,
    /// The model.
    Assistant,
    /// Instructions.
    System,
    /// Instructions, by their newer name.
    Developer,
}

/// One item of a conversation: a message (also when it says no type), a tool call, what a tool answered, the model's
/// reasoning, or a reference to an item that is stored.
// One struct, not an enum by type: that would buffer every picture while it looks for the type, and forget the path of
// a fault in it.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesItem)]
pub struct Item {
    /// `message`, also if absent; `function_call`, `function_call_output`, `custom_tool_call`,
    /// `custom_tool_call_output`, `reasoning` or `item_reference`. Of a `tool_search_output` the tools are offered.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `completed`, `incomplete` or `in_progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Of a message: who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Of a message: what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub content: Option<TextOrList<Part>>,
    /// Of a call and its answer: pairs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Of a call: the tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a call: the group that the tool was offered in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of a `function_call`: the text of a JSON object; of a `tool_search_call`, which is left out: what was searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Of a `custom_tool_call`: the text the tool gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Of a tool's answer: what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub output: Option<TextOrList<Part>>,
    /// Of reasoning: what of it is readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Vec<Part>>,
    /// Of reasoning: what this gateway made of it, unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// One part of a message, of a tool's answer or of reasoning.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesPart)]
pub struct Part {
    /// `input_text`, `input_image`, `input_file`, `output_text`, `refusal`, `summary_text` or `reasoning_text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of `refusal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Of `input_image`: where it is, or the picture itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    #[schema(value_type = Option<String>)]
    pub image_url: Option<Url>,
    /// Of `input_image`: how closely to look, `auto` (the default), `low` or `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of `input_image` and `input_file`: an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Of `input_file`: the content as a data URL.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    #[schema(value_type = Option<String>)]
    pub file_data: Option<Url>,
    /// Of `input_file`: where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    #[schema(value_type = Option<String>)]
    pub file_url: Option<Url>,
    /// Of `input_file`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The part is worth caching, and what is before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_breakpoint: Option<CacheBreakpoint>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn url<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(Url::Data { head, payload }) => serializer.collect_str(&format_args!("data:{head},{payload}")),
        Some(Url::Fetched { media_type, payload }) => {
            // Servers are often wrong about pictures, and a model that reads the URL itself believes it.
            let media_type = picture_type(payload).or(media_type.as_deref()).unwrap_or("application/octet-stream");
            serializer.collect_str(&format_args!("data:{media_type};base64,{payload}"))
        }
        Some(Url::Other(text)) => serializer.serialize_str(text),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_written_as_it_was_read() {
        for text in [
            r#"{"type":"message","id":"msg_1","status":"completed","role":"user","content":[{"type":"input_text","text":"hi","x":1},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"},{"type":"input_file","file_data":"AAAA","filename":"a.pdf"}],"phase":"commentary"}"#,
            r#"{"role":"assistant","content":"hi"}"#,
            r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}"#,
            r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"abc"}"#,
        ] {
            let item: Item = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&item).unwrap(), text);
        }
    }
}
