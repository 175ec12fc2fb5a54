//! What is special about a family of models, as far as a translation has to know it. Pure facts: nothing here knows
//! a surface, and whoever fills in [`Traits`] takes them from the catalog.

pub mod embedding;
mod facts;
pub mod image;
pub mod rerank;

pub use facts::traits;

/// What a model takes. The default is a model that takes everything Converse has: a fact that is not known must not
/// make the gateway refuse what AWS would accept.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by name")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Traits {
    /// Takes `temperature` and `topP`; the newest Claude and GPT models refuse both.
    pub sampling: bool,
    /// Refuses `temperature` and `topP` together: Claude 4.1 to 4.6.
    pub temperature_xor_top_p: bool,
    /// Takes tools.
    pub tools: bool,
    /// Can be made to use a tool: takes a tool choice of `any` or of one tool.
    pub forced_tool_choice: bool,
    /// Takes `tool_choice.disable_parallel_tool_use` among its own request fields: Claude.
    pub parallel_tool_switch: bool,
    /// Takes `reasoning_effort` among its own request fields: gpt-oss, `DeepSeek` V3.
    pub raw_reasoning_effort: bool,
    /// Goes on from a conversation that ends with the assistant.
    pub prefill: bool,
    /// Made by Anthropic: refuses trailing white space in the text it is to go on from.
    pub anthropic: bool,
    /// The most tokens of one answer, if known.
    pub max_output_tokens: Option<u32>,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            sampling: true,
            temperature_xor_top_p: false,
            tools: true,
            forced_tool_choice: true,
            parallel_tool_switch: false,
            raw_reasoning_effort: false,
            prefill: true,
            anthropic: false,
            max_output_tokens: None,
        }
    }
}
