//! What of a request in canonical form a job of the type `Converse` can do. AWS's pages on batch inference rule out tools,
//! structured output, guardrails and optimized latency, or contradict each other about them; what asks for one of these
//! runs online, where it is known to work
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html>).

use crate::batch::Invocation;
use crate::batch::codec::Prepared;
use crate::converse::{ContentBlock, Message, Request, SystemBlock};
use crate::error::{Error, Kind, Result};

/// What a job of the type `Converse` cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub(in crate::api) enum Obstacle {
    #[strum(serialize = "structured output")]
    Form,
    #[strum(serialize = "a guardrail")]
    Guardrail,
    #[strum(serialize = "optimized latency")]
    Latency,
    #[strum(serialize = "a service tier")]
    Tier,
    #[strum(serialize = "tools")]
    Tools,
}

/// The record of a job, or why there can be none. Left out is what says nothing of the answer: marks for a prompt cache,
/// which jobs do not have, and what is meant for the log of single calls, or names the usual tier.
pub(in crate::api) fn converse(mut request: Request, note: String) -> Result<Prepared> {
    if let Some(obstacle) = obstacles(&request).first() {
        return Ok(Prepared::Online { why: obstacle.into() });
    }
    request.system.retain(|block| !matches!(block, SystemBlock::CachePoint(_)));
    for Message { content, .. } in &mut request.messages {
        content.retain(|block| !matches!(block, ContentBlock::CachePoint(_)));
    }
    request.request_metadata.clear();
    request.service_tier = None;
    request.performance_config = None;
    let input = serde_json::to_vec(&request).map_err(Error::internal)?;
    Ok(Prepared::Job { invocation: Invocation::Converse, input, note })
}

/// What of the request a job cannot do.
pub(in crate::api) fn obstacles(request: &Request) -> Vec<Obstacle> {
    let is_other = |value: &Option<serde_json::Value>, member: &str, usual: &str| {
        value.as_ref().is_some_and(|value| value[member] != usual)
    };
    let uses_tools = |message: &Message| {
        message.content.iter().any(|block| matches!(block, ContentBlock::ToolUse(_) | ContentBlock::ToolResult(_)))
    };
    let has_form = request.output_config.as_ref().is_some_and(|config| config.text_format.is_some());
    let all = [
        (has_form, Obstacle::Form),
        (request.guardrail_config.is_some(), Obstacle::Guardrail),
        (is_other(&request.performance_config, "latency", "standard"), Obstacle::Latency),
        (is_other(&request.service_tier, "type", "default"), Obstacle::Tier),
        (request.tool_config.is_some() || request.messages.iter().any(uses_tools), Obstacle::Tools),
    ];
    all.into_iter().filter_map(|(is_there, obstacle)| is_there.then_some(obstacle)).collect()
}

/// Jobs are not watched while they answer: who asks for a stream of events asks for something that a file is not.
pub(in crate::api) fn refuse_stream(stream: Option<bool>) -> Result<()> {
    if stream == Some(true) {
        return Err(Error::invalid("stream", "The answers of a batch come in a file: leave `stream` out."));
    }
    Ok(())
}

/// What a job wrote and nobody understands.
pub(in crate::api) fn unreadable(cause: serde_json::Error) -> Error {
    Error::new(Kind::UpstreamUnavailable, "Bedrock wrote an answer that could not be read.").source(cause)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What becomes of a request with these members beside its messages.
    fn prepared(more: &Value) -> Prepared {
        let mut body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        converse(serde_json::from_value(body).unwrap(), String::new()).unwrap()
    }

    #[test]
    fn what_a_job_cannot_do_runs_online_and_says_why() {
        let schema = json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}});
        let tool = json!({"toolSpec": {"name": "f", "inputSchema": {"json": {}}}});
        let call = json!({"toolUse": {"toolUseId": "t", "name": "f", "input": {}}});
        let cases = [
            (json!({"toolConfig": {"tools": [tool]}}), "tools"),
            (json!({"messages": [{"role": "assistant", "content": [call]}]}), "tools"),
            (json!({"outputConfig": {"textFormat": schema}}), "structured output"),
            (json!({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}), "a guardrail"),
            (json!({"performanceConfig": {"latency": "optimized"}}), "optimized latency"),
            (json!({"serviceTier": {"type": "flex"}}), "a service tier"),
        ];
        for (more, why) in cases {
            assert_eq!(prepared(&more), Prepared::Online { why }, "{more}");
        }
    }

    #[test]
    fn what_says_nothing_of_the_answer_is_left_out() {
        let point = json!({"cachePoint": {"type": "default"}});
        let prepared = prepared(&json!({
            "messages": [{"role": "user", "content": [{"text": "hi"}, point]}],
            "system": [{"text": "s"}, point],
            "requestMetadata": {"user": "u"},
            "performanceConfig": {"latency": "standard"},
            "serviceTier": {"type": "default"},
            "inferenceConfig": {"maxTokens": 5},
            "additionalModelRequestFields": {"top_k": 3},
        }));
        let Prepared::Job { invocation, input, note } = prepared else { panic!("{prepared:?}") };
        assert_eq!((invocation, note.as_str()), (Invocation::Converse, ""));
        let input: Value = serde_json::from_slice(&input).unwrap();
        let expected = json!({
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "system": [{"text": "s"}],
            "inferenceConfig": {"maxTokens": 5},
            "additionalModelRequestFields": {"top_k": 3},
        });
        assert_eq!(input, expected);
    }
}
