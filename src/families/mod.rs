//! What is special about a family of models, as far as a translation has to know it. Pure: nothing here knows a
//! surface. [`traits`] takes what it can from the catalog; what that does not say is in one file per family.

mod charge;
mod claude;
mod deepseek;
pub mod embedding;
mod facts;
mod gpt;
pub mod image;
pub mod messages;
mod nova;
pub mod reasoning;
pub mod rerank;

pub use charge::{charged, charged_at_most};
pub use facts::traits;
pub use reasoning::Reasoning;

/// The names by which the dialects and families say the most tokens of an answer. Where a body says it more than once, the
/// most counts: which one the model goes by is not known.
pub const MAX_TOKENS: [&[u8]; 7] = [
    b"max_tokens",
    b"max_completion_tokens",
    b"max_output_tokens",
    b"max_gen_len",
    b"maxTokens",
    b"max_new_tokens",
    b"maxTokenCount",
];

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
    /// Where it takes `top_k`.
    pub top_k: TopK,
    /// Takes tools.
    pub tools: bool,
    /// Can be made to use a tool: takes a tool choice of `any` or of one tool.
    pub forced_tool_choice: bool,
    /// Takes `tool_choice.disable_parallel_tool_use` among its own request fields: Claude.
    pub parallel_tool_switch: bool,
    /// How it is told to think.
    pub reasoning: Reasoning,
    /// Signs its reasoning, and takes it back as it was: Claude.
    pub signed_reasoning: bool,
    /// Goes on from a conversation that ends with the assistant.
    pub prefill: bool,
    /// Takes instructions in the middle of a conversation: Claude from Opus 4.8 on.
    pub system_turns: bool,
    /// Holds its answer to a schema by itself.
    pub structured_output: bool,
    /// How it takes cache points; `None` is not at all.
    pub caching: Option<Caching>,
    /// Takes recordings.
    pub audio: bool,
    /// Takes films.
    pub video: bool,
    /// Made by Anthropic: refuses trailing white space in the text it is to go on from.
    pub anthropic: bool,
    /// The fewest tokens that an answer may be limited to.
    pub min_output_tokens: u32,
    /// The most tokens of one answer, if known.
    pub max_output_tokens: Option<u32>,
    /// The most stop sequences.
    pub max_stop_sequences: usize,
}

/// Where a model takes `top_k`, which Converse has no field for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TopK {
    /// Nowhere.
    Refused,
    /// `top_k` among its own request fields: Claude, and whatever is not known.
    Plain,
    /// `inferenceConfig.topK` among its own request fields: Nova.
    Nested,
}

/// How a model takes cache points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Caching {
    /// The most in one request.
    pub max_points: usize,
    /// Can keep a prefix for an hour, not only five minutes.
    pub hour: bool,
    /// Takes them between tools.
    pub tools: bool,
}

impl Default for Caching {
    fn default() -> Self {
        Self { max_points: 4, hour: true, tools: true }
    }
}

/// As many stop sequences as Converse takes.
const MAX_STOP_SEQUENCES: usize = 2500;

impl Default for Traits {
    fn default() -> Self {
        Self {
            sampling: true,
            temperature_xor_top_p: false,
            top_k: TopK::Plain,
            tools: true,
            forced_tool_choice: true,
            parallel_tool_switch: false,
            reasoning: Reasoning::Untold,
            signed_reasoning: true,
            prefill: true,
            system_turns: false,
            structured_output: true,
            caching: Some(Caching::default()),
            audio: true,
            video: true,
            anthropic: false,
            min_output_tokens: 1,
            max_output_tokens: None,
            max_stop_sequences: MAX_STOP_SEQUENCES,
        }
    }
}
