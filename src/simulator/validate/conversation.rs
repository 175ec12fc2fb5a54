//! What Converse checks of a conversation beyond its shape, whatever the model: turns, blank text, tool use and results,
//! documents. The body has passed `shape`.

use std::collections::HashSet;

use serde_json::Value;

use crate::simulator::catalog::Model;
use crate::simulator::errors::Failure;

const MAX_IMAGES: usize = 20;
const MAX_DOCUMENTS: usize = 5;
const MAX_IMAGE_BYTES: usize = 3_932_160;
const MAX_DOCUMENT_BYTES: usize = 4_718_592;

/// Checks `body`, a Converse request for `model`.
pub(crate) fn check(body: &Value, model: &Model) -> Result<(), Failure> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return Err(start_with_user());
    }
    for (index, block) in items(&body["system"]).enumerate() {
        if block["text"].as_str().is_some_and(is_blank) {
            return Err(blank(&format!("SystemContentBlock object at system.{index}")));
        }
    }
    tools(body)?;
    roles(messages, model)?;
    let mut documents = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        content(message, index, &mut documents)?;
    }
    tool_turns(messages, body.get("toolConfig").is_some_and(Value::is_object))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn blank(what: &str) -> Failure {
    Failure::validation(format!("The text field in the {what} is blank. Add text to the text field, and try again."))
}

fn start_with_user() -> Failure {
    Failure::validation(
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
    )
}

fn roles(messages: &[Value], model: &Model) -> Result<(), Failure> {
    let role = |index: usize| messages.get(index).and_then(|message| message["role"].as_str());
    let systems = model.is_any(&[
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-sonnet-5",
        "claude-haiku-5",
        "claude-fable",
        "claude-mythos-5",
    ]);
    for index in 0..messages.len() {
        if role(index) != Some("system") {
            continue;
        }
        if !systems {
            return Err(Failure::validation(format!(
                "1 validation error detected: Value 'system' at 'messages.{}.member.role' failed to satisfy constraint: Member must \
                 satisfy enum value set: [user, assistant]",
                index + 1
            )));
        }
        let after_user = index > 0 && role(index - 1) == Some("user");
        let before = role(index + 1);
        if !after_user || !(before.is_none() || before == Some("assistant")) {
            return Err(Failure::model(format!(
                "messages.{index}: a system message must directly follow a user message and must be the last message or be followed by an assistant message"
            )));
        }
    }
    let turns: Vec<&str> =
        messages.iter().filter_map(|message| message["role"].as_str()).filter(|role| *role != "system").collect();
    if turns.first() != Some(&"user") {
        return Err(start_with_user());
    }
    if turns.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Failure::validation(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and \
             assistant roles and try again.",
        ));
    }
    Ok(())
}

fn content(message: &Value, at: usize, documents: &mut HashSet<String>) -> Result<(), Failure> {
    let role = message["role"].as_str().unwrap_or_default();
    let blocks: Vec<&Value> = items(&message["content"]).collect();
    if blocks.is_empty() {
        return Err(Failure::validation(format!(
            "The content field in the Message object at messages.{at} is empty. Add a ContentBlock object to the content field and try again."
        )));
    }
    for (index, block) in blocks.iter().enumerate() {
        let path = format!("messages.{at}.content.{index}");
        if role == "system" && block.get("text").is_none() {
            return Err(Failure::model(format!("{path}: system messages may contain text only")));
        }
        if block["text"].as_str().is_some_and(is_blank) {
            return Err(blank(&format!("ContentBlock object at {path}")));
        }
        let wrong_role = match role {
            "user" => ["toolUse", "reasoningContent"].into_iter().find(|key| block.get(key).is_some()),
            _ => ["toolResult", "image", "document", "video", "audio"].into_iter().find(|key| block.get(key).is_some()),
        };
        if let Some(key) = wrong_role {
            return Err(Failure::validation(format!(
                "The {key} content block at {path} isn't allowed in a message with the {role} role. Remove the block, or change the role, and try again."
            )));
        }
        media(block, &path, documents)?;
        tool_block(block, &path)?;
    }
    let of = |key: &str| blocks.iter().filter(|block| block.get(key).is_some()).count();
    if of("image") > MAX_IMAGES {
        return Err(too_many("image", at, MAX_IMAGES));
    }
    if of("document") > MAX_DOCUMENTS {
        return Err(too_many("document", at, MAX_DOCUMENTS));
    }
    if of("document") > 0 && of("text") == 0 {
        return Err(Failure::validation("A text block must be included when using documents."));
    }
    Ok(())
}

fn too_many(what: &str, at: usize, limit: usize) -> Failure {
    Failure::validation(format!(
        "The number of {what} content blocks at messages.{at}.content exceeds the limit of {limit}. Remove {what} content blocks and try again."
    ))
}

fn media(block: &Value, path: &str, documents: &mut HashSet<String>) -> Result<(), Failure> {
    let bytes = |value: &Value| value["source"]["bytes"].as_str().map_or(0, |text| text.len() / 4 * 3);
    if bytes(&block["image"]) > MAX_IMAGE_BYTES {
        return Err(Failure::model(format!(
            "{path}.image.source.bytes: image exceeds the maximum size of {MAX_IMAGE_BYTES} bytes"
        )));
    }
    let Some(document) = block.get("document").filter(|document| document.is_object()) else { return Ok(()) };
    if bytes(document) > MAX_DOCUMENT_BYTES {
        return Err(Failure::model(format!(
            "{path}.document.source.bytes: document exceeds the maximum size of {MAX_DOCUMENT_BYTES} bytes"
        )));
    }
    let name = document["name"].as_str().unwrap_or_default();
    let allowed =
        |character: char| character.is_alphanumeric() || character.is_whitespace() || "-()[]".contains(character);
    let two_spaces = name.chars().zip(name.chars().skip(1)).any(|(a, b)| a.is_whitespace() && b.is_whitespace());
    if !name.chars().all(allowed) || two_spaces {
        return Err(Failure::validation(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square \
             brackets. The name can't contain more than one consecutive whitespace character.",
        ));
    }
    if !documents.insert(name.to_owned()) {
        return Err(Failure::validation(
            "Document file names must be unique within a request. Rename the documents and try again.",
        ));
    }
    Ok(())
}

fn tool_block(block: &Value, path: &str) -> Result<(), Failure> {
    let object = |value: &Value, path: &str| match value {
        Value::Object(_) => Ok(()),
        _ => Err(Failure::validation(format!(
            "The format of the value at {path} is invalid. Provide a json object for the field and try again."
        ))),
    };
    if let Some(input) = block["toolUse"].get("input") {
        object(input, &format!("{path}.toolUse.input"))?;
    }
    let Some(result) = block.get("toolResult").filter(|result| result.is_object()) else { return Ok(()) };
    if result["status"] == "error" && items(&result["content"]).next().is_none() {
        return Err(Failure::validation(format!(
            "The content field at {path}.toolResult cannot be empty when status value is error."
        )));
    }
    for (index, part) in items(&result["content"]).enumerate() {
        if let Some(json) = part.get("json") {
            object(json, &format!("{path}.toolResult.content.{index}.json"))?;
        }
        if result["status"] == "error" && part["text"].as_str().is_some_and(is_blank) {
            return Err(blank(&format!("ToolResultContentBlock object at {path}.toolResult.content.{index}")));
        }
    }
    Ok(())
}

fn tools(body: &Value) -> Result<(), Failure> {
    let mut names: Vec<&str> = Vec::new();
    for (index, tool) in items(&body["toolConfig"]["tools"]).enumerate() {
        let spec = &tool["toolSpec"];
        let Some(name) = spec["name"].as_str().or_else(|| tool["systemTool"]["name"].as_str()) else { continue };
        if let Some(first) = names.iter().position(|known| *known == name) {
            return Err(Failure::validation(format!(
                "The tool {name} is already defined at toolConfig.tools.{first}."
            )));
        }
        names.push(name);
        if spec.is_object() && spec["inputSchema"]["json"]["type"] != "object" {
            return Err(Failure::validation(format!(
                "The value at toolConfig.tools.{index}.toolSpec.inputSchema.json.type must be one of the following: object."
            )));
        }
    }
    match body["toolConfig"]["toolChoice"]["tool"]["name"].as_str() {
        Some(name) if !names.contains(&name) => Err(Failure::validation(format!(
            "The tool {name} at toolConfig.toolChoice.tool isn't defined in toolConfig.tools. Define the tool and try again."
        ))),
        _ => Ok(()),
    }
}

/// Every tool use is answered in the very next turn, by results with the same ids and no others.
fn tool_turns(messages: &[Value], has_tools: bool) -> Result<(), Failure> {
    let ids = |message: &Value, key: &str| -> Vec<String> {
        let blocks = items(&message["content"]).filter(|block| block[key]["type"] != "server_tool_use");
        blocks.filter_map(|block| block[key]["toolUseId"].as_str()).map(str::to_owned).collect()
    };
    let mut open: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let (uses, results) = (ids(message, "toolUse"), ids(message, "toolResult"));
        if !has_tools && uses.len() + results.len() > 0 {
            return Err(Failure::validation(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            ));
        }
        for (what, list) in [("toolUse", &uses), ("toolResult", &results)] {
            let mut seen = HashSet::new();
            let repeated: Vec<&str> = list.iter().filter(|id| !seen.insert(*id)).map(String::as_str).collect();
            if !repeated.is_empty() {
                let ids = repeated.join(", ");
                return Err(Failure::validation(format!(
                    "The {what} blocks at messages.{index}.content contain duplicate Ids: {ids}"
                )));
            }
        }
        let missing: Vec<&str> = open.iter().filter(|id| !results.contains(id)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(Failure::validation(format!(
                "Expected toolResult blocks at messages.{index}.content for the following Ids: {}",
                missing.join(", ")
            )));
        }
        if results.len() > open.len() {
            return Err(Failure::validation(format!(
                "The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of previous turn."
            )));
        }
        open = uses;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::catalog;

    fn told(body: &Value) -> String {
        let model = catalog::model("amazon.nova-lite-v1:0").unwrap();
        check(body, model).map_or_else(|failure| failure.message, |()| "ok".to_owned())
    }

    fn turns(turns: &[(&str, Value)]) -> Value {
        let messages: Vec<Value> =
            turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        json!({"messages": messages, "toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}})
    }

    fn tool_use(id: &str) -> Value {
        json!({"toolUse": {"toolUseId": id, "name": "t", "input": {}}})
    }

    fn tool_result(id: &str) -> Value {
        json!({"toolResult": {"toolUseId": id, "content": [{"text": "5"}]}})
    }

    #[test]
    fn turns_must_start_with_the_user_and_alternate() {
        let text = json!([{"text": "a"}]);
        assert_eq!(told(&turns(&[("user", text.clone()), ("assistant", text.clone()), ("user", text.clone())])), "ok");
        for (roles, expected) in
            [(&["assistant"][..], "must start with a user"), (&["user", "user"], "must alternate"), (&[], "must start")]
        {
            let list: Vec<_> = roles.iter().map(|role| (*role, text.clone())).collect();
            assert!(told(&turns(&list)).contains(expected));
        }
        assert!(
            told(&turns(&[("user", text.clone()), ("system", text)])).contains("enum value set: [user, assistant]")
        );
    }

    #[test]
    fn content_is_checked_where_it_stands() {
        let blocks = |blocks: Value| told(&turns(&[("user", blocks)]));
        assert_eq!(
            blocks(json!([{"text": " \n"}])),
            "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and try again."
        );
        assert!(blocks(json!([])).contains("messages.0 is empty"));
        let document = |name: &str| json!({"document": {"name": name, "format": "txt", "source": {"bytes": "YQ=="}}});
        assert_eq!(blocks(json!([document("a")])), "A text block must be included when using documents.");
        assert!(blocks(json!([{"text": "t"}, document("a_b")])).contains("alphanumeric characters"));
        assert!(blocks(json!([{"text": "t"}, document("a"), document("a")])).contains("unique"));
        let image = json!({"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}});
        assert!(blocks(json!(vec![image.clone(); 21])).contains("exceeds the limit of 20"));
        assert!(
            told(&turns(&[("user", json!([{"text": "a"}])), ("assistant", json!([image]))]))
                .contains("isn't allowed in a message")
        );
    }

    #[test]
    fn tool_use_is_answered_in_the_next_turn_by_the_same_ids() {
        let asked = ("user", json!([{"text": "a"}]));
        let calls = ("assistant", json!([tool_use("x"), tool_use("y")]));
        let answered = turns(&[asked.clone(), calls.clone(), ("user", json!([tool_result("y"), tool_result("x")]))]);
        assert_eq!(told(&answered), "ok");
        for (third, expected) in [
            (json!([tool_result("x")]), "Expected toolResult blocks at messages.2.content for the following Ids: y"),
            (json!([{"text": "later"}]), "for the following Ids: x, y"),
            (json!([tool_result("x"), tool_result("y"), tool_result("z")]), "exceeds the number of toolUse blocks"),
            (json!([tool_result("x"), tool_result("x"), tool_result("y")]), "contain duplicate Ids: x"),
        ] {
            let message = told(&turns(&[asked.clone(), calls.clone(), ("user", third)]));
            assert!(message.contains(expected), "{message}");
        }
        let mut without = answered;
        without.as_object_mut().unwrap().remove("toolConfig");
        assert_eq!(
            told(&without),
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        );
    }

    #[test]
    fn tools_are_named_once_and_take_objects() {
        let tool =
            |name: &str, kind: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": kind}}}});
        let with = |tools: Value| {
            let mut body = turns(&[("user", json!([{"text": "a"}]))]);
            body["toolConfig"]["tools"] = tools;
            told(&body)
        };
        assert_eq!(
            with(json!([tool("a", "object"), tool("a", "object")])),
            "The tool a is already defined at toolConfig.tools.0."
        );
        assert!(with(json!([tool("a", "string")])).contains("json.type must be one of the following: object."));
    }
}
