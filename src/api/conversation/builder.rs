//! The conversation, put in the order Bedrock insists on: it begins with the user, roles alternate, no text is blank,
//! and the results of all tools that one assistant turn asked for open the user turn right after it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::names::{Namer, ToolNames, fits};
use super::{At, Dialect, Grain};
use crate::converse::{
    CachePoint, ContentBlock, Message, Object, ReasoningContent, Role, SystemBlock, ToolResult, ToolResultBlock,
    ToolUse,
};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// Stands where Bedrock wants text and the caller had none.
const NOTHING: &str = "(no content)";
/// Follows an assistant turn at the end, for models that do not go on from one.
const GO_ON: &str = "Continue.";

/// A conversation in canonical form.
#[derive(Debug)]
pub struct Conversation {
    /// The instructions.
    pub system: Vec<SystemBlock>,
    /// The turns.
    pub messages: Vec<Message>,
    /// The tools that the assistant asked for, each once, by the names Bedrock gets.
    pub tools_used: Vec<String>,
}

/// What a tool answered.
#[derive(Debug)]
pub struct ToolAnswer {
    /// The caller's id of the call.
    pub id: String,
    /// The answer's parts; if there are none, a placeholder is put in.
    pub content: Vec<ToolResultBlock>,
    /// `success` or `error`.
    pub status: Option<&'static str>,
    /// Follows the result.
    pub cache_point: Option<CachePoint>,
}

/// One turn while it grows. Results come first whatever the order they arrived in.
struct Turn {
    role: Role,
    results: Vec<ContentBlock>,
    blocks: Vec<ContentBlock>,
    /// The first piece in it.
    at: At,
}

/// A tool call of the assistant.
struct Call {
    sent_id: String,
    answered: bool,
    at: At,
    /// The turn that made it.
    turn: usize,
}

/// Takes the pieces of a conversation in the caller's order: [`Builder::instruct`], [`Builder::user`],
/// [`Builder::assistant`], [`Builder::call`], [`Builder::result`] for each, and [`Builder::finish`].
///
/// Several pieces of one message are given one after the other, with places in that message. Text goes through
/// [`Builder::text`] first, which leaves out what is blank.
pub struct Builder<'a> {
    dialect: &'static Dialect,
    names: &'a ToolNames,
    traits: &'a Traits,
    report: &'a mut Report,
    system: Vec<SystemBlock>,
    turns: Vec<Turn>,
    calls: Vec<Call>,
    /// The latest call by each of the caller's ids.
    by_id: HashMap<String, usize>,
    ids: Namer,
    tools_used: Vec<String>,
    tools_seen: HashSet<String>,
    /// The latest piece.
    last: Option<At>,
    documents: usize,
}

impl<'a> Builder<'a> {
    /// A conversation without any piece yet.
    pub fn new(dialect: &'static Dialect, names: &'a ToolNames, traits: &'a Traits, report: &'a mut Report) -> Self {
        Self {
            dialect,
            names,
            traits,
            report,
            system: Vec::new(),
            turns: Vec::new(),
            calls: Vec::new(),
            by_id: HashMap::new(),
            ids: Namer::default(),
            tools_used: Vec::new(),
            tools_seen: HashSet::new(),
            last: None,
            documents: 0,
        }
    }

    /// For what the surface itself changes.
    pub fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The text at `at`, unless it is blank: Bedrock refuses blank text. Text that is empty says the same as none; a
    /// surface where the two look alike to the caller leaves it out before it comes here.
    pub fn text(&mut self, at: At, text: String) -> Option<String> {
        if text.trim().is_empty() {
            self.report.add(Action::Dropped, at);
            return None;
        }
        Some(text)
    }

    /// The name of the next document. It is neutral, because the model reads it; no other document of the request has
    /// it; and it stays the same while the conversation grows, as the prompt cache wants.
    pub fn document_name(&mut self) -> String {
        self.documents += 1;
        format!("document-{}", self.documents)
    }

    /// The assistant's reasoning at `at`, if the model takes it back: it does when it has signed it.
    pub fn reasoning(&mut self, at: At, reasoning: ReasoningContent) -> Option<ContentBlock> {
        let signed = match &reasoning {
            ReasoningContent::ReasoningText(text) => text.signature.as_ref().is_some_and(|sign| !sign.is_empty()),
            ReasoningContent::RedactedContent(_) => true,
        };
        if !signed || !self.traits.signed_reasoning {
            self.report.add(Action::Dropped, at);
            return None;
        }
        Some(ContentBlock::ReasoningContent(reasoning))
    }

    /// Instructions. At the start they are the system prompt; later ones stay where they are if the model takes them
    /// there, else they become text of the user.
    pub fn instruct(&mut self, at: At, blocks: Vec<SystemBlock>) {
        if self.turns.is_empty() {
            self.system.extend(blocks);
            return;
        }
        if blocks.is_empty() {
            self.report.add(Action::Dropped, at);
            return;
        }
        let only_text = blocks.iter().all(|block| matches!(block, SystemBlock::Text(_)));
        let blocks = blocks.into_iter().map(|block| match block {
            SystemBlock::Text(text) => ContentBlock::Text(text),
            SystemBlock::CachePoint(point) => ContentBlock::CachePoint(point),
            SystemBlock::Other(other) => ContentBlock::Other(other),
        });
        let after_user = self.turns.last().is_some_and(|turn| turn.role != Role::Assistant);
        let role = if self.traits.system_turns && only_text && after_user {
            Role::System
        } else {
            self.report.add(Action::Renamed, at.dot("role"));
            Role::User
        };
        self.turn(role, at).blocks.extend(blocks);
    }

    /// What the user says. If it is nothing, a placeholder takes its place.
    pub fn user(&mut self, at: At, blocks: impl IntoIterator<Item = ContentBlock>) {
        self.turn(Role::User, at).blocks.extend(blocks);
    }

    /// What the assistant said. If it is nothing, it is left out; its calls follow by [`Builder::call`].
    pub fn assistant(&mut self, at: At, blocks: Vec<ContentBlock>) {
        if blocks.is_empty() {
            self.report.add(Action::Dropped, at);
            return;
        }
        self.turn(Role::Assistant, at).blocks.extend(blocks);
    }

    /// A tool call of the assistant: the caller's id for it, the caller's name of the tool, its arguments.
    /// An id that a call without a result has already is `Kind::Invalid`.
    pub fn call(&mut self, at: At, id: String, name: &str, input: Object) -> Result<(), Error> {
        let taken = self.by_id.get(&id).is_some_and(|&call| !self.calls[call].answered);
        if id.is_empty() || taken {
            let message = "A tool call needs an id that no other call beside it has.";
            return Err(Error::invalid(at.dot(self.dialect.call_id), message));
        }
        let in_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let sent_id = if fits(&id, in_id) && self.ids.take(&id) {
            id.clone()
        } else {
            self.report.add(Action::Renamed, at.dot(self.dialect.call_id));
            self.ids.near(&id, in_id)
        };
        let name = self.names.sent(name).to_owned();
        if self.tools_seen.insert(name.clone()) {
            self.tools_used.push(name.clone());
        }
        let tool = ToolUse { tool_use_id: sent_id.clone(), name, input: Value::Object(input), kind: None };
        self.turn(Role::Assistant, at).blocks.push(ContentBlock::ToolUse(tool));
        self.by_id.insert(id, self.calls.len());
        self.calls.push(Call { sent_id, answered: false, at, turn: self.turns.len() - 1 });
        Ok(())
    }

    /// What a tool answered. It goes to the turn after the one that called the tool, wherever it comes from. One that
    /// answers no call, or one that was answered, is `Kind::Invalid`.
    pub fn result(&mut self, at: At, answer: ToolAnswer) -> Result<(), Error> {
        let path = || at.dot(self.dialect.result_id);
        let Some(&index) = self.by_id.get(&answer.id) else {
            return Err(Error::invalid(
                path(),
                "This answers none of the tool calls that the assistant made before it.",
            ));
        };
        let call = &mut self.calls[index];
        if call.answered {
            return Err(Error::invalid(path(), "This tool call has been answered already."));
        }
        call.answered = true;
        let (tool_use_id, turn) = (call.sent_id.clone(), call.turn + 1);
        let mut content = answer.content;
        if content.is_empty() {
            self.report.add(Action::Inserted, at.dot(self.dialect.result_content));
            content.push(ToolResultBlock::Text(NOTHING.to_owned()));
        }
        let result = ToolResult { tool_use_id, content, status: answer.status.map(str::to_owned) };
        if turn + 1 < self.turns.len() {
            self.report.add(Action::Merged, at);
        } else {
            self.turn(Role::User, at);
        }
        let results = &mut self.turns[turn].results;
        results.push(ContentBlock::ToolResult(result));
        results.extend(answer.cache_point.map(ContentBlock::CachePoint));
        Ok(())
    }

    /// The turn of `role` that the piece at `at` belongs to: the last one, or a new one.
    fn turn(&mut self, role: Role, at: At) -> &mut Turn {
        if role == Role::User {
            self.fold_instructions();
        }
        let same = self.turns.last().is_some_and(|turn| turn.role == role);
        let goes_on = self.last.replace(at).is_some_and(|last| last.is_beside(at));
        if !same {
            if role == Role::Assistant && self.turns.is_empty() {
                self.report.add(Action::Inserted, self.dialect.conversation);
                self.turns.push(Turn::saying(NOTHING, at));
            }
            self.turns.push(Turn { role, results: Vec::new(), blocks: Vec::new(), at });
        } else if !goes_on && self.dialect.grain == Grain::Messages {
            self.report.add(Action::Merged, at);
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    /// Instructions in the middle must be followed by the assistant or by nothing: when the user goes on, they become
    /// text of the user.
    fn fold_instructions(&mut self) {
        if self.turns.last().is_none_or(|turn| turn.role != Role::System) {
            return;
        }
        if let (Some(folded), Some(user)) = (self.turns.pop(), self.turns.last_mut()) {
            self.report.add(Action::Renamed, folded.at.dot("role"));
            user.blocks.extend(folded.blocks);
        }
    }

    /// The whole conversation. A call without a result is `Kind::Invalid`.
    pub fn finish(mut self) -> Result<Conversation, Error> {
        if let Some(open) = self.calls.iter().find(|call| !call.answered) {
            return Err(Error::invalid(open.at, "This tool call has no result: one with its id has to follow."));
        }
        if self.turns.is_empty() {
            self.report.add(Action::Inserted, self.dialect.conversation);
            self.turns.push(Turn::saying(NOTHING, At::item(self.dialect.conversation, 0)));
        }
        for turn in &mut self.turns {
            if turn.lacks_text() {
                self.report.add(Action::Inserted, turn.at.dot("content"));
                turn.blocks.push(ContentBlock::text(NOTHING));
            }
        }
        self.end();
        let messages = self.turns.into_iter().map(Turn::into_message).collect();
        Ok(Conversation { system: self.system, messages, tools_used: self.tools_used })
    }

    /// A conversation that ends with the assistant is to be gone on from, as far as the model does that.
    fn end(&mut self) {
        let Some(last) = self.turns.last_mut().filter(|turn| turn.role == Role::Assistant) else { return };
        let at = last.at;
        if !self.traits.prefill {
            self.report.add(Action::Inserted, self.dialect.conversation);
            self.turns.push(Turn::saying(GO_ON, at));
            return;
        }
        if let Some(ContentBlock::Text(text)) = last.blocks.last_mut().filter(|_| self.traits.anthropic) {
            let kept = text.trim_end().len();
            if kept < text.len() {
                self.report.add(Action::Filtered, at.dot("content"));
                text.truncate(kept);
            }
        }
    }
}

impl Turn {
    fn saying(text: &str, at: At) -> Self {
        Self { role: Role::User, results: Vec::new(), blocks: vec![ContentBlock::text(text)], at }
    }

    /// A turn needs something, and one with a document needs text beside it.
    fn lacks_text(&self) -> bool {
        if self.blocks.is_empty() {
            return self.results.is_empty();
        }
        let has = |kind: fn(&ContentBlock) -> bool| self.blocks.iter().any(kind);
        has(|block| matches!(block, ContentBlock::Document(_))) && !has(|block| matches!(block, ContentBlock::Text(_)))
    }

    fn into_message(mut self) -> Message {
        self.results.append(&mut self.blocks);
        Message { role: self.role, content: self.results }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ITEMS: Dialect = Dialect {
        conversation: "input",
        grain: Grain::Items,
        call_id: "call_id",
        result_id: "call_id",
        result_content: "output",
        tools: "tools",
        tool_choice: "tool_choice",
        tool_choice_name: "tool_choice.name",
        parallel: "parallel_tool_calls",
    };

    fn answer(id: &str) -> ToolAnswer {
        ToolAnswer { id: id.into(), content: Vec::new(), status: Some("error"), cache_point: None }
    }

    #[test]
    fn a_late_result_goes_to_the_turn_after_its_call() {
        let (names, traits, mut report) = (ToolNames::default(), Traits::default(), Report::default());
        let mut builder = Builder::new(&ITEMS, &names, &traits, &mut report);
        builder.user(At::item("input", 0), [ContentBlock::text("hi")]);
        builder.call(At::item("input", 1), "a".into(), "f", Object::new()).unwrap();
        builder.call(At::item("input", 2), "b".into(), "f", Object::new()).unwrap();
        builder.result(At::item("input", 3), answer("a")).unwrap();
        builder.assistant(At::item("input", 4), vec![ContentBlock::text("wait")]);
        builder.result(At::item("input", 5), answer("b")).unwrap();
        assert_eq!(builder.result(At::item("input", 6), answer("b")).unwrap_err().blamed(), Some("input[6].call_id"));
        let messages = serde_json::to_value(builder.finish().unwrap().messages).unwrap();
        let call = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
        let nothing = json!([{"text": NOTHING}]);
        let result = |id: &str| json!({"toolResult": {"toolUseId": id, "content": nothing, "status": "error"}});
        assert_eq!(
            messages,
            json!([
                {"role": "user", "content": [{"text": "hi"}]},
                {"role": "assistant", "content": [call("a"), call("b")]},
                {"role": "user", "content": [result("a"), result("b")]},
                {"role": "assistant", "content": [{"text": "wait"}]},
            ])
        );
        assert_eq!(report.to_string(), "inserted:input[3].output,inserted:input[5].output,merged:input[5]");
    }

    #[test]
    fn instructions_in_the_middle_stay_only_where_the_model_takes_them() {
        let roles = |system_turns: bool, order: &str| {
            let (names, traits) = (ToolNames::default(), Traits { system_turns, ..Traits::default() });
            let mut report = Report::default();
            let mut builder = Builder::new(&ITEMS, &names, &traits, &mut report);
            for (i, role) in order.chars().enumerate() {
                let at = At::item("input", i);
                match role {
                    's' => builder.instruct(at, vec![SystemBlock::Text("rule".into())]),
                    'u' => builder.user(at, [ContentBlock::text("hi")]),
                    _ => builder.assistant(at, vec![ContentBlock::text("ho")]),
                }
            }
            let messages = builder.finish().unwrap().messages;
            let roles: Vec<_> = messages.iter().map(|message| format!("{:?}", message.role)).collect();
            (roles.join(" "), report.to_string())
        };
        assert_eq!(roles(true, "usau"), ("User System Assistant User".into(), String::new()));
        assert_eq!(roles(true, "us"), ("User System".into(), String::new()));
        assert_eq!(roles(true, "usu"), ("User".into(), "renamed:input[1].role".into()));
        assert_eq!(roles(true, "uasu"), ("User Assistant User".into(), "renamed:input[2].role".into()));
        assert_eq!(roles(false, "usau"), ("User Assistant User".into(), "renamed:input[1].role".into()));
    }

    #[test]
    fn reasoning_goes_back_only_signed_and_only_to_whom_it_is_from() {
        let thought = |signature: Option<&str>| {
            let text = crate::converse::ReasoningText { text: "hm".into(), signature: signature.map(str::to_owned) };
            ReasoningContent::ReasoningText(text)
        };
        for (signed_reasoning, signature, kept) in
            [(true, Some("s"), true), (true, Some(""), false), (true, None, false), (false, Some("s"), false)]
        {
            let (names, traits) = (ToolNames::default(), Traits { signed_reasoning, ..Traits::default() });
            let mut report = Report::default();
            let mut builder = Builder::new(&ITEMS, &names, &traits, &mut report);
            let block = builder.reasoning(At::item("input", 1), thought(signature));
            assert_eq!((block.is_some(), report.is_empty()), (kept, kept));
        }
    }

    #[test]
    fn an_id_may_come_again_once_its_call_was_answered() {
        let (names, traits, mut report) = (ToolNames::default(), Traits::default(), Report::default());
        let mut builder = Builder::new(&ITEMS, &names, &traits, &mut report);
        for round in 0..2 {
            builder.call(At::item("input", 2 * round), "a".into(), "f", Object::new()).unwrap();
            let again = builder.call(At::item("input", 9), "a".into(), "f", Object::new()).unwrap_err();
            assert_eq!(again.blamed(), Some("input[9].call_id"));
            builder.result(At::item("input", 2 * round + 1), answer("a")).unwrap();
        }
        let messages = serde_json::to_value(builder.finish().unwrap().messages).unwrap();
        assert_eq!(messages[1]["content"][0]["toolUse"]["toolUseId"], "a");
        assert_eq!(messages[3]["content"][0]["toolUse"]["toolUseId"], "a_2");
        assert_eq!(messages[4]["content"][0]["toolResult"]["toolUseId"], "a_2");
    }
}
