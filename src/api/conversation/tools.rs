//! Tools, and whether the model has to use one.

use serde_json::{Value, json};

use super::{At, Dialect, ToolNames};
use crate::converse::{InputSchema, Object, Request, Tool, ToolChoice, ToolConfig, ToolSpec};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What a request says about tools.
#[derive(Debug)]
pub struct Tools {
    /// The tools it offers, by the names Bedrock gets.
    pub offered: Vec<Tool>,
    /// Which to use.
    pub choice: Choice,
    /// Whether several at once may be.
    pub parallel: Parallel,
    /// The tools that its history used, by the names Bedrock gets.
    pub used: Vec<String>,
}

/// Which tools the model may or must use.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// As it sees fit.
    Auto,
    /// Not any.
    None,
    /// At least one.
    Required,
    /// This one, by the caller's name.
    Named(String),
}

/// Whether the model may use several tools at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// It may.
    Allowed,
    /// It may not.
    Forbidden,
}

impl Tools {
    /// Puts the tools into `request`. Bedrock has no choice of "none", and refuses a history with tool blocks unless
    /// tools are there as well: so they stay, or are made up from the history.
    pub fn apply(
        self,
        dialect: &Dialect,
        names: &ToolNames,
        traits: &Traits,
        request: &mut Request,
        report: &mut Report,
    ) -> Result<(), Error> {
        let offered = !self.offered.is_empty();
        if !traits.tools && (offered || !self.used.is_empty()) {
            let field = if offered { dialect.tools } else { dialect.conversation };
            return Err(Error::unsupported(field, "This model takes no tools."));
        }
        match &self.choice {
            Choice::Required | Choice::Named(_) if !offered => {
                return Err(Error::invalid(dialect.tool_choice, "This asks for a tool, but no tools are offered."));
            }
            Choice::Named(name) if !self.offers(names.sent(name)) => {
                return Err(Error::invalid(dialect.tool_choice_name, "This names a tool that is not offered."));
            }
            Choice::None if self.used.is_empty() => return Ok(()),
            Choice::None if offered => report.add(Action::Dropped, dialect.tool_choice),
            _ => {}
        }
        let mut tools = self.offered;
        if tools.is_empty() {
            if self.used.is_empty() {
                return Ok(());
            }
            report.add(Action::Inserted, dialect.tools);
            tools = self.used.into_iter().map(made_up).collect();
        }

        let forced = match &self.choice {
            Choice::Required => Some(ToolChoice::Any(Object::new())),
            Choice::Named(name) => Some(ToolChoice::Tool { name: names.sent(name).to_owned() }),
            Choice::Auto | Choice::None => None,
        };
        let tool_choice = forced.filter(|_| traits.forced_tool_choice);
        if tool_choice.is_none() && matches!(self.choice, Choice::Required | Choice::Named(_)) {
            report.add(Action::Clamped, dialect.tool_choice);
        }
        if self.parallel == Parallel::Forbidden && offered {
            forbid_parallel(dialect, tool_choice.is_some(), traits, request, report);
        }
        request.tool_config = Some(ToolConfig { tools, tool_choice });
        Ok(())
    }

    pub(super) fn offers(&self, name: &str) -> bool {
        self.offered.iter().any(|tool| matches!(tool, Tool::ToolSpec(spec) if spec.name == name))
    }
}

/// A tool of the caller's as Bedrock takes it; `schema` is that of its arguments, found at `at`. No schema means no
/// arguments.
pub fn spec(
    (name, at): (&str, At),
    description: Option<String>,
    schema: Option<Object>,
    strict: Option<bool>,
    report: &mut Report,
) -> ToolSpec {
    // The type is what models insist on.
    let mut schema = schema.unwrap_or_default();
    if schema.is_empty() {
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), json!({}));
    } else if !schema.contains_key("type") {
        report.add(Action::Inserted, at.dot("type"));
        schema.insert("type".to_owned(), json!("object"));
    }
    ToolSpec {
        name: name.to_owned(),
        description: description.filter(|text| !text.trim().is_empty()),
        input_schema: InputSchema { json: Value::Object(schema) },
        strict: strict.filter(|strict| *strict),
    }
}

/// What the text of a call's arguments says, if it is an object. A tool without arguments is called with no text.
pub fn arguments(text: &str) -> Option<Object> {
    if text.trim().is_empty() {
        return Some(Object::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Some(object),
        Ok(Value::Null) => Some(Object::new()),
        _ => None,
    }
}

/// A tool of which only the name is known, because the history used it.
fn made_up(name: String) -> Tool {
    let input_schema = InputSchema { json: json!({"type": "object"}) };
    Tool::ToolSpec(ToolSpec { name, description: None, input_schema, strict: None })
}

/// Only Claude has a switch, and only among its own fields. Its `type` there must not meet a choice made in Converse's.
fn forbid_parallel(dialect: &Dialect, chosen: bool, traits: &Traits, request: &mut Request, report: &mut Report) {
    if !traits.parallel_tool_switch {
        report.add(Action::Dropped, dialect.parallel);
        return;
    }
    let mut switch = Object::new();
    if !chosen {
        switch.insert("type".to_owned(), json!("auto"));
    }
    switch.insert("disable_parallel_tool_use".to_owned(), json!(true));
    request.additional_model_request_fields.insert("tool_choice".to_owned(), Value::Object(switch));
}
