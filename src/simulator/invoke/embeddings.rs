//! Embedding bodies of Titan and Cohere, and the vectors of all (`media_embeddings` has the others). A vector depends on the text and its length alone, and has length one.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Native, media_embeddings, refuse_keys};
use crate::simulator::catalog::Family;
use crate::simulator::errors::Failure;
use crate::simulator::prompt_cache::Input;
use crate::simulator::resolve::Target;
use crate::simulator::tokens;

/// Answers an embedding body.
pub(crate) fn answer(target: &Target, body: &Value) -> Result<Native, Failure> {
    match target.model.family() {
        Family::CohereEmbedding => cohere(target, body),
        Family::NovaEmbedding => media_embeddings::nova(body),
        Family::TitanImage => media_embeddings::titan(body),
        Family::Marengo => media_embeddings::marengo(&target.model, body),
        _ => titan(target, body),
    }
}

/// An answer that costs so many input tokens.
pub(super) fn native(body: Value, input_tokens: u64) -> Native {
    Native::whole(body, Input { fresh: input_tokens, ..Input::default() }, 0)
}

/// A unit vector of `dimensions` numbers, always the same for a text.
pub(super) fn vector(text: &str, dimensions: u64) -> Vec<f64> {
    let mut numbers = Vec::new();
    let mut block = 0_u32;
    while (numbers.len() as u64) < dimensions {
        let hash = Sha256::digest(format!("{block}:{text}"));
        numbers.extend(hash.chunks_exact(2).map(|pair| f64::from(i16::from_be_bytes([pair[0], pair[1]])) / 32_768.0));
        block += 1;
    }
    numbers.truncate(usize::try_from(dimensions).unwrap_or(0));
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    numbers.iter().map(|number| number / length).collect()
}

fn bits(vector: &[f64]) -> Vec<u8> {
    vector.iter().map(|number| u8::from(*number > 0.0)).collect()
}

/// A dimension, if it is one of `allowed`.
pub(super) fn dimensions(value: &Value, allowed: &[u64], default: u64, path: &str) -> Result<u64, Failure> {
    match value.as_u64() {
        None if value.is_null() => Ok(default),
        Some(asked) if allowed.contains(&asked) => Ok(asked),
        _ => Err(Failure::malformed(format!("#/{path}: {value} is not a valid enum value"))),
    }
}

fn titan(target: &Target, body: &Value) -> Result<Native, Failure> {
    let is_v1 = !target.model.id.contains("-v2");
    refuse_keys(
        body,
        if is_v1 { &["inputText"] } else { &["inputText", "dimensions", "normalize", "embeddingTypes"] },
    )?;
    let text = body["inputText"].as_str().ok_or_else(|| Failure::malformed("#: required key [inputText] not found"))?;
    if text.is_empty() {
        return Err(Failure::malformed("#/inputText: expected minLength: 1, actual: 0"));
    }
    let count = tokens::count(text);
    if count > 8192 || text.len() > 50_000 {
        return Err(Failure::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: {count} "
        )));
    }
    let size = if is_v1 { 1536 } else { dimensions(&body["dimensions"], &[256, 512, 1024], 1024, "dimensions")? };
    let mut numbers = vector(text, size);
    if body["normalize"] == false {
        for number in &mut numbers {
            *number *= 3.0;
        }
    }
    let known = ["float", "binary"];
    let asked = body["embeddingTypes"].as_array().into_iter().flatten();
    if let Some(kind) = asked.into_iter().find(|kind| !kind.as_str().is_some_and(|kind| known.contains(&kind))) {
        return Err(Failure::malformed(format!("#/embeddingTypes: {kind} is not a valid enum value")));
    }
    let mut answer = json!({"embedding": numbers, "inputTextTokenCount": count});
    if !is_v1 {
        let types: Vec<&str> = body["embeddingTypes"]
            .as_array()
            .map_or(vec!["float"], |types| types.iter().filter_map(Value::as_str).collect());
        answer["embeddingsByType"] = json!({});
        for kind in &types {
            answer["embeddingsByType"][*kind] = if *kind == "binary" { json!(bits(&numbers)) } else { json!(numbers) };
        }
        if !types.contains(&"float") {
            answer.as_object_mut().map(|answer| answer.remove("embedding"));
        }
    }
    Ok(native(answer, count))
}

fn cohere(target: &Target, body: &Value) -> Result<Native, Failure> {
    let is_v4 = target.model.id.contains("-v4");
    let common = ["texts", "images", "input_type", "truncate", "embedding_types"];
    let of_v4 = ["inputs", "output_dimension", "max_tokens"];
    let known: Vec<&str> = common.into_iter().chain(of_v4.into_iter().filter(|_| is_v4)).collect();
    refuse_keys(body, &known)?;
    let inputs = cohere_inputs(body, is_v4)?;
    let limit = 96;
    if inputs.len() > limit {
        return Err(Failure::malformed(format!(
            "#/texts: expected maximum item count: {limit}, found: {}",
            inputs.len()
        )));
    }
    let kinds = ["search_document", "search_query", "classification", "clustering", "image"];
    match body["input_type"].as_str() {
        None => return Err(Failure::malformed("#: required key [input_type] not found")),
        Some(kind) if !kinds.contains(&kind) => {
            return Err(Failure::malformed(format!("#/input_type: {kind} is not a valid enum value")));
        }
        Some(_) => {}
    }
    let truncations: &[&str] = if is_v4 { &["NONE", "LEFT", "RIGHT"] } else { &["NONE", "START", "END"] };
    if let Some(truncate) = body["truncate"].as_str().filter(|truncate| !truncations.contains(truncate)) {
        return Err(Failure::malformed(format!("#/truncate: {truncate} is not a valid enum value")));
    }
    let size = if is_v4 {
        dimensions(&body["output_dimension"], &[256, 512, 1024, 1536], 1536, "output_dimension")?
    } else {
        1024
    };
    let formats = ["float", "int8", "uint8", "binary", "ubinary"];
    let asked = body["embedding_types"].as_array().into_iter().flatten();
    if let Some(kind) = asked.into_iter().find(|kind| !kind.as_str().is_some_and(|kind| formats.contains(&kind))) {
        return Err(Failure::malformed(format!("#/embedding_types: {kind} is not a valid enum value")));
    }
    let vectors: Vec<Vec<f64>> = inputs.iter().map(|input| vector(input, size)).collect();
    let types: Vec<&str> = body["embedding_types"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (embeddings, response_type) = if types.is_empty() {
        (json!(vectors), "embeddings_floats")
    } else {
        (
            Value::Object(types.iter().map(|kind| ((*kind).to_owned(), typed(kind, &vectors))).collect()),
            "embeddings_by_type",
        )
    };
    let count = inputs.iter().map(|input| tokens::count(input)).sum();
    let id = crate::simulator::content::identifier("", count, inputs.len());
    Ok(native(
        json!({"id": id, "texts": body["texts"], "embeddings": embeddings, "response_type": response_type}),
        count,
    ))
}

/// What to embed: texts, images or (version 4) mixed inputs, never two of them.
fn cohere_inputs(body: &Value, is_v4: bool) -> Result<Vec<String>, Failure> {
    let given: Vec<&str> = ["texts", "images", "inputs"].into_iter().filter(|key| !body[*key].is_null()).collect();
    let [key] = given[..] else {
        return Err(Failure::malformed(if given.is_empty() {
            "#: required key [texts] not found".to_owned()
        } else {
            format!("#: extraneous key [{}] is not permitted", given[1])
        }));
    };
    let list = body[key].as_array().ok_or_else(|| Failure::malformed(format!("#/{key}: expected type: JSONArray")))?;
    if list.is_empty() {
        return Err(Failure::malformed(format!("#/{key}: expected minimum item count: 1, found: 0")));
    }
    if key == "inputs" {
        return Ok(list.iter().map(Value::to_string).collect());
    }
    if key == "images" && !is_v4 && list.len() > 1 {
        return Err(Failure::malformed(format!("#/images: expected maximum item count: 1, found: {}", list.len())));
    }
    let mut inputs = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let text =
            item.as_str().ok_or_else(|| Failure::malformed(format!("#/{key}/{index}: expected type: String")))?;
        let length = text.chars().count();
        if key == "texts" && !is_v4 && length > 2048 {
            return Err(Failure::malformed(format!("#/texts/{index}: expected maxLength: 2048, actual: {length}")));
        }
        if key == "images" && !text.starts_with("data:image/") {
            return Err(Failure::validation("invalid image format: expected a data URI of an image"));
        }
        inputs.push(text.to_owned());
    }
    Ok(inputs)
}

/// Vectors in one of Cohere's number formats.
fn typed(kind: &str, vectors: &[Vec<f64>]) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "a number between -1 and 1, times 127, fits")]
    let scaled = |number: &f64| (number * 127.0) as i64;
    let packed = |vector: &Vec<f64>| -> Vec<i64> {
        bits(vector).chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value * 2 + i64::from(*bit))).collect()
    };
    let convert = |vector: &Vec<f64>| match kind {
        "int8" => json!(vector.iter().map(scaled).collect::<Vec<_>>()),
        "uint8" => json!(vector.iter().map(|number| scaled(number) + 128).collect::<Vec<_>>()),
        "ubinary" => json!(packed(vector)),
        "binary" => json!(packed(vector).iter().map(|byte| byte - 128).collect::<Vec<_>>()),
        _ => json!(vector),
    };
    vectors.iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::catalog;

    fn told(id: &str, body: &Value) -> Result<Value, String> {
        let target = Target {
            model: std::sync::Arc::new(catalog::model(id).unwrap().clone()),
            region: "us-east-1".to_owned(),
            routing: None,
            resource: None,
        };
        answer(&target, body).map_err(|failure| failure.message).map(|native| match native.body {
            super::super::NativeBody::Whole(body) => body,
            super::super::NativeBody::Stream(_) => Value::Null,
        })
    }

    #[test]
    fn vectors_are_of_length_one_and_the_size_that_was_asked_for() {
        let answer = told("amazon.titan-embed-text-v2:0", &json!({"inputText": "hello", "dimensions": 256})).unwrap();
        let numbers: Vec<f64> = answer["embedding"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(numbers.len(), 256);
        assert!((numbers.iter().map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(
            told("amazon.titan-embed-text-v2:0", &json!({"inputText": "hello", "dimensions": 5}))
                .unwrap_err()
                .contains("#/dimensions")
        );
        assert!(
            told("amazon.titan-embed-text-v1", &json!({"inputText": "a", "normalize": true}))
                .unwrap_err()
                .contains("extraneous key [normalize]")
        );
    }

    #[test]
    fn cohere_answers_a_list_or_a_map_by_type() {
        let body = json!({"texts": ["a", "b"], "input_type": "search_query"});
        let plain = told("cohere.embed-english-v3", &body).unwrap();
        assert_eq!(
            (plain["embeddings"][1].as_array().unwrap().len(), &plain["response_type"]),
            (1024, &json!("embeddings_floats"))
        );
        let typed = json!({"texts": ["a"], "input_type": "search_query", "embedding_types": ["int8", "ubinary"], "output_dimension": 256});
        let typed = told("cohere.embed-v4:0", &typed).unwrap();
        assert_eq!(
            (
                typed["embeddings"]["int8"][0].as_array().unwrap().len(),
                typed["embeddings"]["ubinary"][0].as_array().unwrap().len()
            ),
            (256, 32)
        );
        assert!(told("cohere.embed-v4:0", &json!({"texts": ["a"]})).unwrap_err().contains("[input_type]"));
    }
}
