//! The form of an answer: JSON that holds to a schema. Where a model does not do that by itself it is made to call a
//! tool that takes such JSON, and the call becomes the answer; where it cannot be made to, it is told to.

use serde_json::{Value, json};

use super::schema::close;
use super::{Choice, Tools};
use crate::converse::{
    BlockStart, ContentBlock, Delta, Event, InputSchema, JsonSchema, Object, OutputConfig, Request, Response,
    StopReason, Structure, SystemBlock, TextFormat, Tool, ToolSpec,
};
use crate::families::reasoning::{Ask, Habit};
use crate::families::{Reasoning, Traits};
use crate::report::{Action, Report};

/// The tool whose arguments are the answer.
const ANSWER: &str = "answer_in_json";

/// An answer without any fields.
const NOTHING: &str = "{}";

/// What a caller asked its answer to be.
#[derive(Debug)]
pub enum Wanted {
    /// JSON that holds to this schema.
    Schema {
        /// The schema.
        schema: Object,
        /// Its name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
    },
    /// Some JSON object.
    Json,
}

/// How the answer gets its form, and the way back where that shows in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Nothing has to be undone.
    #[default]
    Plain,
    /// The answer comes as a call of a tool of ours.
    Tool(Block),
}

/// What of a stream is the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The block it comes in.
    index: Option<u32>,
    /// Some of it was there.
    begun: bool,
    /// The caller's own tools were called, too.
    others: bool,
}

impl Form {
    /// Asks for the answer that `field` wants. `tools` are the caller's, before they are applied; `ask` is what was
    /// asked of the model's thinking, which does not go with a tool that it is made to use.
    pub fn request(
        wanted: Wanted,
        field: &'static str,
        ask: Option<Ask>,
        traits: &Traits,
        (tools, request): (&mut Tools, &mut Request),
        report: &mut Report,
    ) -> Self {
        let (mut schema, name, description) = match wanted {
            Wanted::Schema { schema, name, description } => (schema, name, description),
            Wanted::Json => {
                report.add(Action::Clamped, field);
                instruct(request, "Answer with one JSON object and nothing else: no prose, no code fence.".to_owned());
                return Self::Plain;
            }
        };
        if traits.structured_output {
            if close(&mut schema) {
                report.add(Action::Inserted, field);
            }
            let schema = Value::Object(schema);
            let schema = JsonSchema { schema: schema.to_string(), name, description };
            let text_format = TextFormat { kind: "json_schema".to_owned(), structure: Structure::JsonSchema(schema) };
            request.output_config = Some(OutputConfig { text_format: Some(text_format), effort: None });
            return Self::Plain;
        }
        let schema = Value::Object(schema);
        if !can_be_forced(ask, traits) || !matches!(tools.choice, Choice::Auto | Choice::None) || tools.offers(ANSWER) {
            report.add(Action::Clamped, field);
            let schema = schema.to_string();
            instruct(
                request,
                format!("Answer with one JSON value that holds to this JSON schema, and nothing else: {schema}"),
            );
            return Self::Plain;
        }
        report.add(Action::Renamed, field);
        if traits.reasoning == Reasoning::Adaptive(Habit::On) {
            request.additional_model_request_fields.insert("thinking".to_owned(), json!({"type": "disabled"}));
        }
        let answer = ToolSpec {
            name: ANSWER.to_owned(),
            description: Some(description.unwrap_or_else(|| "Give the answer.".to_owned())),
            input_schema: InputSchema { json: schema },
            strict: None,
        };
        // Beside the caller's tools, the model chooses between using one and answering.
        let alone = tools.offered.is_empty() || tools.choice == Choice::None;
        tools.offered.push(Tool::ToolSpec(answer));
        tools.choice = if alone { Choice::Named(ANSWER.to_owned()) } else { Choice::Required };
        Self::Tool(Block::default())
    }

    /// Makes an answer of the call in a whole answer.
    pub fn response(self, response: &mut Response) {
        if self == Self::Plain {
            return;
        }
        let mut others = false;
        for block in &mut response.output.message.content {
            match block {
                ContentBlock::ToolUse(tool) if tool.name == ANSWER => {
                    *block = ContentBlock::Text(match &tool.input {
                        Value::Null => NOTHING.to_owned(),
                        input => input.to_string(),
                    });
                }
                ContentBlock::ToolUse(tool) if tool.kind.is_none() => others = true,
                _ => {}
            }
        }
        if response.stop_reason == StopReason::ToolUse && !others {
            response.stop_reason = StopReason::EndTurn;
        }
    }

    /// Makes text of the call in a stream, event by event. What is returned comes before the event: an answer without
    /// any fields may come as a call without any text.
    #[must_use]
    pub fn event(&mut self, event: &mut Event) -> Option<Event> {
        let Self::Tool(answer) = self else { return None };
        match event {
            Event::BlockStart { index, start: BlockStart::ToolUse(tool) } if tool.name == ANSWER => {
                *answer = Block { index: Some(*index), begun: false, others: answer.others };
                *event = Event::Unknown;
            }
            Event::BlockStart { start: BlockStart::ToolUse(tool), .. } if tool.kind.is_none() => answer.others = true,
            Event::BlockDelta { index, delta } if answer.index == Some(*index) => {
                if let Delta::ToolInput(piece) = delta {
                    answer.begun |= !piece.is_empty();
                    *delta = Delta::Text(std::mem::take(piece));
                }
            }
            Event::BlockStop { index } if answer.index == Some(*index) && !answer.begun => {
                answer.begun = true;
                return Some(Event::BlockDelta { index: *index, delta: Delta::Text(NOTHING.to_owned()) });
            }
            Event::MessageStop { stop_reason, .. }
                if *stop_reason == StopReason::ToolUse && answer.index.is_some() && !answer.others =>
            {
                *stop_reason = StopReason::EndTurn;
            }
            _ => {}
        }
        None
    }
}

fn can_be_forced(ask: Option<Ask>, traits: &Traits) -> bool {
    let thinks = traits.reasoning == Reasoning::Adaptive(Habit::Always) || ask.is_some_and(|ask| ask != Ask::Off);
    traits.tools && traits.forced_tool_choice && !thinks
}

fn instruct(request: &mut Request, text: String) {
    request.system.push(SystemBlock::Text(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conversation::Parallel;
    use crate::converse::{ToolUse, ToolUseStart};

    fn asked(traits: &Traits, ask: Option<Ask>) -> (Form, Tools, Request, String) {
        let mut tools =
            Tools { offered: Vec::new(), choice: Choice::Auto, parallel: Parallel::Allowed, used: Vec::new() };
        let (mut request, mut report) = (Request::default(), Report::default());
        let schema = json!({"type": "object", "additionalProperties": false}).as_object().unwrap().clone();
        let wanted = Wanted::Schema { schema, name: Some("x".into()), description: None };
        let form = Form::request(wanted, "format", ask, traits, (&mut tools, &mut request), &mut report);
        (form, tools, request, report.to_string())
    }

    #[test]
    fn a_model_holds_to_the_schema_itself_or_calls_a_tool_or_is_told() {
        let (form, tools, request, report) = asked(&Traits::default(), None);
        assert_eq!((form, tools.offered.len(), report.as_str()), (Form::Plain, 0, ""));
        assert!(request.output_config.unwrap().text_format.is_some());
        let without = Traits { structured_output: false, ..Traits::default() };
        let (form, tools, request, report) = asked(&without, None);
        assert_eq!((form, report.as_str()), (Form::Tool(Block::default()), "renamed:format"));
        assert_eq!((tools.choice, request.system.len()), (Choice::Named(ANSWER.into()), 0));
        for (traits, ask) in [
            (&without, Some(Ask::Adaptive)),
            (&Traits { forced_tool_choice: false, ..without.clone() }, None),
            (&Traits { reasoning: Reasoning::Adaptive(Habit::Always), ..without.clone() }, None),
        ] {
            let (form, tools, request, report) = asked(traits, ask);
            assert_eq!((form, tools.offered.len(), report.as_str()), (Form::Plain, 0, "clamped:format"));
            assert!(matches!(&request.system[0], SystemBlock::Text(text) if text.contains(r#"{"type":"object","#)));
        }
    }

    #[test]
    fn the_call_becomes_the_answer_whole_and_in_pieces() {
        let form = Form::Tool(Block::default());
        let tool = |name: &str| {
            let input = json!({"a": 1});
            ContentBlock::ToolUse(ToolUse { tool_use_id: "t".into(), name: name.into(), input, kind: None })
        };
        let answer = |content: Vec<ContentBlock>| {
            let body = json!({"output": {"message": {"role": "assistant", "content": content}},
                "stopReason": "tool_use", "usage": {}});
            let mut response: Response = serde_json::from_value(body).unwrap();
            form.response(&mut response);
            (response.output.message.content, response.stop_reason)
        };
        let text = ContentBlock::text(r#"{"a":1}"#);
        assert_eq!(answer(vec![tool(ANSWER)]), (vec![text.clone()], StopReason::EndTurn));
        assert_eq!(answer(vec![tool(ANSWER), tool("f")]), (vec![text, tool("f")], StopReason::ToolUse));

        let mut form = form;
        let start = ToolUseStart { tool_use_id: "t".into(), name: ANSWER.into(), kind: None };
        let mut events = [
            Event::BlockStart { index: 1, start: BlockStart::ToolUse(start) },
            Event::BlockDelta { index: 1, delta: Delta::ToolInput("{".into()) },
            Event::BlockDelta { index: 2, delta: Delta::ToolInput("{".into()) },
            Event::MessageStop { stop_reason: StopReason::ToolUse, additional: None },
        ];
        for event in &mut events {
            assert_eq!(form.event(event), None);
        }
        let [start, first, second, stop] = events;
        assert_eq!(start, Event::Unknown);
        assert_eq!(first, Event::BlockDelta { index: 1, delta: Delta::Text("{".into()) });
        assert_eq!(second, Event::BlockDelta { index: 2, delta: Delta::ToolInput("{".into()) });
        assert_eq!(stop, Event::MessageStop { stop_reason: StopReason::EndTurn, additional: None });
    }

    /// What becomes of a stream in which the tools of these names are called one after the other, without arguments.
    fn streamed(names: &[&str]) -> Vec<Event> {
        let mut form = Form::Tool(Block::default());
        let calls = (0..).zip(names).flat_map(|(index, name)| {
            let start = ToolUseStart { tool_use_id: "t".into(), name: (*name).into(), kind: None };
            [Event::BlockStart { index, start: BlockStart::ToolUse(start) }, Event::BlockStop { index }]
        });
        let stop = Event::MessageStop { stop_reason: StopReason::ToolUse, additional: None };
        let events = calls.chain([stop]).flat_map(|mut event| form.event(&mut event).into_iter().chain([event]));
        events.collect::<Vec<_>>()
    }

    #[test]
    fn an_answer_without_fields_is_an_object_in_a_stream_too() {
        let events = streamed(&[ANSWER]);
        assert!(events.contains(&Event::BlockDelta { index: 0, delta: Delta::Text("{}".into()) }), "{events:?}");
    }

    #[test]
    fn a_stream_that_calls_the_callers_tools_beside_the_answer_stops_for_them() {
        let reason = |names: &[&str]| match streamed(names).pop() {
            Some(Event::MessageStop { stop_reason, .. }) => stop_reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&[ANSWER]), StopReason::EndTurn);
        assert_eq!(reason(&[ANSWER, "f"]), StopReason::ToolUse);
        assert_eq!(reason(&["f", ANSWER]), StopReason::ToolUse);
        assert_eq!(reason(&["f"]), StopReason::ToolUse);
    }
}
