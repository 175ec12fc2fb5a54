//! How much a model is to think before it answers: one wish, and the form that each family has for it.
//!
//! Thinking comes with conditions, which are held here too: what else the request says is brought in line with it, and
//! reported. Pages: Anthropic's "Extended thinking", "Adaptive thinking" and "Effort"; "Extended thinking in Amazon
//! Nova 2".

use serde_json::{Value, json};
use strum::{EnumString, IntoStaticStr};

use super::Traits;
use crate::converse::{self, ContentBlock, Object, Role, ToolChoice};
use crate::error::Error;
use crate::report::{Action, Report};

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Reasoning {
    /// It is not told, and is not known to think.
    Untold,
    /// It thinks, and is not told how much.
    Fixed,
    /// `thinking` with a budget of tokens: Claude 3.7 to 4.5.
    Budget,
    /// The budget still, or effort: Claude 4.6.
    BudgetOrAdaptive,
    /// `thinking` of the type `adaptive`, and effort: Claude from 4.7 on.
    Adaptive(Habit),
    /// `reasoningConfig`: Nova 2.
    Nova,
    /// `reasoning_effort` as OpenAI has it: gpt-oss, `DeepSeek` V3.
    Raw(Habit),
}

/// What a model does that is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Habit {
    /// It does not think.
    Off,
    /// It thinks, and can be told not to.
    On,
    /// It thinks, and cannot be told not to.
    Always,
}

/// How hard to think, in the words of OpenAI and Anthropic. The order is that of the strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Effort {
    /// OpenAI's least.
    Minimal,
    /// Little.
    Low,
    /// The usual.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// The most.
    Max,
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// No thinking.
    Off,
    /// So much.
    Effort(Effort),
    /// At most so many tokens.
    Budget(u32),
    /// As much as the model sees fit.
    Adaptive,
}

/// The smallest budget that Claude takes, in tokens.
const MIN_BUDGET: u32 = 1024;

impl Effort {
    /// The budget that stands for it where there are only budgets, in tokens.
    fn budget(self) -> u32 {
        match self {
            Self::Minimal | Self::Low => MIN_BUDGET,
            Self::Medium => 4096,
            Self::High => 16_384,
            Self::Xhigh | Self::Max => 32_768,
        }
    }

    /// The effort whose budget is nearest from below to `tokens`.
    fn of_budget(tokens: u32) -> Self {
        [Self::High, Self::Medium].into_iter().find(|effort| tokens >= effort.budget()).unwrap_or(Self::Low)
    }
}

impl Ask {
    /// The effort that comes nearest, and whether it says less than what was asked; none for [`Ask::Off`].
    fn effort(self) -> Option<(Effort, bool)> {
        match self {
            Self::Off => None,
            Self::Effort(effort) => Some((effort, false)),
            Self::Budget(tokens) => Some((Effort::of_budget(tokens), true)),
            Self::Adaptive => Some((Effort::Medium, true)),
        }
    }
}

/// Puts what was asked for in `field` into `request`, which is complete but for this, in the form this family takes;
/// reports what could not be, and what had to give way. A budget of no tokens is `Kind::Invalid`.
pub fn apply(
    ask: Ask,
    field: &'static str,
    traits: &Traits,
    request: &mut converse::Request,
    report: &mut Report,
) -> Result<(), Error> {
    if ask == Ask::Budget(0) {
        return Err(Error::invalid(field, "A budget has to be at least 1024 tokens."));
    }
    let mut wish = Wish { field, traits, request, report };
    match (traits.reasoning, ask.effort()) {
        (Reasoning::Adaptive(Habit::On), None) => wish.set("thinking", json!({"type": "disabled"})),
        (Reasoning::Fixed | Reasoning::Adaptive(Habit::Always) | Reasoning::Raw(Habit::Always | Habit::On), None) => {
            wish.change(Action::Dropped);
        }
        (_, None) => {}
        (Reasoning::Untold | Reasoning::Fixed, Some(_)) => wish.change(Action::Dropped),
        (Reasoning::Budget, Some(_)) => wish.think_within(ask),
        (Reasoning::BudgetOrAdaptive, Some(_)) if matches!(ask, Ask::Budget(_)) => wish.think_within(ask),
        (Reasoning::BudgetOrAdaptive | Reasoning::Adaptive(_), Some(_)) => wish.think_adaptively(ask),
        (Reasoning::Nova, Some((effort, inexact))) => wish.configure(effort, inexact),
        // A model that decides for itself is what these are.
        (Reasoning::Raw(_), Some(_)) if ask == Ask::Adaptive => {}
        (Reasoning::Raw(_), Some((effort, inexact))) => {
            let effort = wish.within(effort, inexact, [Effort::Low, Effort::High]);
            wish.set("reasoning_effort", json!(<&str>::from(effort)));
        }
    }
    Ok(())
}

/// A wish while it is put into a request.
struct Wish<'a> {
    field: &'static str,
    traits: &'a Traits,
    request: &'a mut converse::Request,
    report: &'a mut Report,
}

impl Wish<'_> {
    fn change(&mut self, action: Action) {
        self.report.add(action, self.field);
    }

    fn set(&mut self, key: &str, value: Value) {
        self.request.additional_model_request_fields.insert(key.to_owned(), value);
    }

    /// `effort` between the least and the most that the model knows.
    fn within(&mut self, effort: Effort, inexact: bool, [least, most]: [Effort; 2]) -> Effort {
        let kept = effort.clamp(least, most);
        if inexact || kept != effort {
            self.change(Action::Clamped);
        }
        kept
    }

    /// Claude with a budget. It has to leave room for the answer; an effort leaves half.
    fn think_within(&mut self, ask: Ask) {
        let most = self.request.inference_config.max_tokens.or(self.traits.max_output_tokens).unwrap_or(u32::MAX);
        if most <= MIN_BUDGET || self.began_without() {
            self.change(Action::Dropped);
            return;
        }
        let budget = match ask {
            Ask::Budget(asked) => {
                let budget = asked.clamp(MIN_BUDGET, most - 1);
                if budget != asked {
                    self.change(Action::Clamped);
                }
                budget
            }
            Ask::Effort(effort) => effort.budget().min(most / 2).max(MIN_BUDGET),
            Ask::Adaptive | Ask::Off => {
                self.change(Action::Clamped);
                Effort::High.budget().min(most / 2).max(MIN_BUDGET)
            }
        };
        self.set("thinking", json!({"type": "enabled", "budget_tokens": budget}));
        self.make_way();
    }

    /// Claude as it sees fit, or with effort, which is a field of Converse's own.
    fn think_adaptively(&mut self, ask: Ask) {
        let effort = match ask {
            Ask::Adaptive | Ask::Off => None,
            Ask::Effort(effort) => Some((effort, false)),
            Ask::Budget(tokens) => Some((Effort::of_budget(tokens), true)),
        };
        if let Some((effort, inexact)) = effort {
            let fourth = self.traits.reasoning == Reasoning::BudgetOrAdaptive;
            // The fourth generation knows `max`, but not what lies between it and `high`.
            let known = if fourth && effort == Effort::Xhigh { Effort::High } else { Effort::Max };
            let effort = self.within(effort, inexact, [Effort::Low, known]);
            let output = self.request.output_config.get_or_insert_default();
            output.effort = Some(<&str>::from(effort).to_owned());
        }
        self.set("thinking", json!({"type": "adaptive"}));
        self.make_way();
    }

    /// Nova 2. With much effort it takes neither sampling nor length.
    fn configure(&mut self, effort: Effort, inexact: bool) {
        let effort = self.within(effort, inexact, [Effort::Low, Effort::High]);
        self.set("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": <&str>::from(effort)}));
        if effort < Effort::High {
            return;
        }
        let config = &mut self.request.inference_config;
        let refused = [
            ("temperature", config.temperature.take().is_some()),
            ("top_p", config.top_p.take().is_some()),
            ("max_tokens", config.max_tokens.take().is_some()),
            ("top_k", self.request.additional_model_request_fields.shift_remove("inferenceConfig").is_some()),
        ];
        for (field, _) in refused.into_iter().filter(|(_, given)| *given) {
            self.report.add(Action::Dropped, field);
        }
    }

    /// Whether the latest turn of the assistant used a tool without showing its thinking: Claude, asked to think within
    /// a budget, refuses to go on from there.
    fn began_without(&self) -> bool {
        let Some(last) = self.request.messages.iter().rfind(|turn| turn.role == Role::Assistant) else { return false };
        let used_tool = last.content.iter().any(|block| matches!(block, ContentBlock::ToolUse(_)));
        used_tool && !matches!(last.content.first(), Some(ContentBlock::ReasoningContent(_)))
    }

    /// While Claude thinks, it is drawn at the temperature 1 and by no less than 0.95 of the probability, and is not
    /// made to use a tool.
    fn make_way(&mut self) {
        let config = &mut self.request.inference_config;
        if config.temperature.take().is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
            self.report.add(Action::Clamped, "temperature");
        }
        if config.top_p.is_some_and(|top_p| top_p < 0.95) {
            config.top_p = Some(0.95);
            self.report.add(Action::Clamped, "top_p");
        }
        if self.request.additional_model_request_fields.shift_remove("top_k").is_some() {
            self.report.add(Action::Dropped, "top_k");
        }
        let Some(tools) = &mut self.request.tool_config else { return };
        if matches!(tools.tool_choice, Some(ToolChoice::Any(_) | ToolChoice::Tool { .. })) {
            self.report.add(Action::Clamped, "tool_choice");
            tools.tool_choice = None;
            self.mend_parallel_switch();
        }
    }

    /// The switch against several tools at once needs a type of its own when no choice is made in Converse's words.
    fn mend_parallel_switch(&mut self) {
        let switch = self.request.additional_model_request_fields.get_mut("tool_choice").and_then(Value::as_object_mut);
        if let Some(switch) = switch {
            let mut mended = Object::from_iter([("type".to_owned(), json!("auto"))]);
            mended.append(switch);
            *switch = mended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `ask` in the request `body`, and the report.
    fn applied(reasoning: Reasoning, ask: Ask, body: &Value) -> (Value, String) {
        let traits = Traits { reasoning, ..Traits::default() };
        let mut whole = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let mut request: converse::Request = serde_json::from_value(whole).unwrap();
        let mut report = Report::default();
        apply(ask, "effort", &traits, &mut request, &mut report).unwrap();
        let mut body = serde_json::to_value(&request).unwrap();
        body.as_object_mut().unwrap().shift_remove("messages");
        (body, report.to_string())
    }

    fn thinking(value: &Value) -> Value {
        json!({"additionalModelRequestFields": {"thinking": value}})
    }

    #[test]
    fn each_family_is_told_in_its_own_words() {
        let low = Ask::Effort(Effort::Low);
        let told = |reasoning, ask| applied(reasoning, ask, &json!({}));
        let adaptive = |effort: &str| {
            let mut body = thinking(&json!({"type": "adaptive"}));
            body["outputConfig"] = json!({"effort": effort});
            body
        };
        let fields = |key: &str, value: Value| json!({"additionalModelRequestFields": {key: value}});
        let nova = |effort: &str| fields("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": effort}));
        let budget = |tokens: u32| thinking(&json!({"type": "enabled", "budget_tokens": tokens}));
        let (newest, always) = (Reasoning::Adaptive(Habit::On), Reasoning::Adaptive(Habit::Always));
        let raw = Reasoning::Raw(Habit::Always);
        for (reasoning, ask, body, report) in [
            (Reasoning::Budget, low, budget(1024), ""),
            (Reasoning::Budget, Ask::Effort(Effort::High), budget(16_384), ""),
            (Reasoning::Budget, Ask::Budget(5000), budget(5000), ""),
            (Reasoning::Budget, Ask::Budget(5), budget(1024), "clamped:effort"),
            (Reasoning::Budget, Ask::Adaptive, budget(16_384), "clamped:effort"),
            (Reasoning::Budget, Ask::Off, json!({}), ""),
            (Reasoning::BudgetOrAdaptive, Ask::Budget(5000), budget(5000), ""),
            (Reasoning::BudgetOrAdaptive, Ask::Effort(Effort::Xhigh), adaptive("high"), "clamped:effort"),
            (Reasoning::BudgetOrAdaptive, Ask::Effort(Effort::Max), adaptive("max"), ""),
            (newest, Ask::Effort(Effort::Xhigh), adaptive("xhigh"), ""),
            (newest, Ask::Effort(Effort::Minimal), adaptive("low"), "clamped:effort"),
            (newest, Ask::Budget(5000), adaptive("medium"), "clamped:effort"),
            (newest, Ask::Adaptive, thinking(&json!({"type": "adaptive"})), ""),
            (newest, Ask::Off, thinking(&json!({"type": "disabled"})), ""),
            (always, Ask::Off, json!({}), "dropped:effort"),
            (Reasoning::Nova, low, nova("low"), ""),
            (Reasoning::Nova, Ask::Effort(Effort::Max), nova("high"), "clamped:effort"),
            (Reasoning::Nova, Ask::Off, json!({}), ""),
            (raw, low, fields("reasoning_effort", json!("low")), ""),
            (raw, Ask::Effort(Effort::Minimal), fields("reasoning_effort", json!("low")), "clamped:effort"),
            (raw, Ask::Adaptive, json!({}), ""),
            (raw, Ask::Off, json!({}), "dropped:effort"),
            (Reasoning::Fixed, low, json!({}), "dropped:effort"),
            (Reasoning::Untold, low, json!({}), "dropped:effort"),
            (Reasoning::Untold, Ask::Off, json!({}), ""),
        ] {
            assert_eq!(told(reasoning, ask), (body, report.to_owned()), "{reasoning:?} {ask:?}");
        }
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer_or_there_is_none() {
        let within = |max_tokens: u32, ask| {
            let (body, report) =
                applied(Reasoning::Budget, ask, &json!({"inferenceConfig": {"maxTokens": max_tokens}}));
            (body["additionalModelRequestFields"]["thinking"]["budget_tokens"].clone(), report)
        };
        assert_eq!(within(4000, Ask::Effort(Effort::High)), (json!(2000), String::new()));
        assert_eq!(within(1025, Ask::Effort(Effort::High)), (json!(1024), String::new()));
        assert_eq!(within(4000, Ask::Budget(9000)), (json!(3999), "clamped:effort".into()));
        assert_eq!(within(1024, Ask::Budget(1024)), (Value::Null, "dropped:effort".into()));
    }

    #[test]
    fn what_does_not_go_with_thinking_gives_way() {
        let body = json!({
            "inferenceConfig": {"temperature": 0.5, "topP": 0.5},
            "toolConfig": {"tools": [], "toolChoice": {"any": {}}},
            "additionalModelRequestFields": {"top_k": 5, "tool_choice": {"disable_parallel_tool_use": true}},
        });
        let (body, report) = applied(Reasoning::Budget, Ask::Budget(2000), &body);
        let expected = json!({
            "inferenceConfig": {"topP": 0.95},
            "toolConfig": {"tools": []},
            "additionalModelRequestFields": {
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
                "thinking": {"type": "enabled", "budget_tokens": 2000},
            },
        });
        assert_eq!(body, expected);
        assert_eq!(report, "clamped:temperature,clamped:top_p,dropped:top_k,clamped:tool_choice");
        let much = json!({"inferenceConfig": {"temperature": 1, "maxTokens": 9},
            "additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}});
        let (body, report) = applied(Reasoning::Nova, Ask::Effort(Effort::High), &much);
        assert!(body.get("inferenceConfig").is_none(), "{body}");
        assert_eq!(report, "dropped:temperature,dropped:max_tokens,dropped:top_k");
    }

    #[test]
    fn a_tool_used_without_thinking_ends_thinking_within_a_budget() {
        let asked = json!({"toolUse": {"toolUseId": "a", "name": "f", "input": {}}});
        let thought = json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}});
        let history = |content: Value| json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}, {"role": "assistant", "content": content}]});
        let (body, report) = applied(Reasoning::Budget, Ask::Budget(2000), &history(json!([asked])));
        assert_eq!((body, report.as_str()), (json!({}), "dropped:effort"));
        let (_, report) = applied(Reasoning::Budget, Ask::Budget(2000), &history(json!([thought, asked])));
        assert_eq!(report, "");
        let (_, report) = applied(Reasoning::Adaptive(Habit::Off), Ask::Adaptive, &history(json!([asked])));
        assert_eq!(report, "");
    }
}
