//! What is read of a request, and how an answer is put together.

use serde_json::{Value, json};

use bytes::Bytes;

use super::*;
use crate::families::embedding::Picture;

fn read(body: &Value) -> Result<inputs::Inputs> {
    let request: Request = body::read(body.to_string().as_bytes())?;
    inputs::read(request.input)
}

fn fault(input: &Value) -> (Kind, String, String) {
    let error = read(&json!({"model": "m", "input": input})).unwrap_err();
    (error.kind(), error.blamed().unwrap().to_owned(), error.message().to_owned())
}

#[test]
fn a_string_and_a_list_of_strings_are_texts() {
    let list = |input: Value| read(&json!({"model": "m", "input": input})).unwrap().list;
    assert_eq!(list(json!("a")), [Input::Text("a".into())]);
    assert_eq!(list(json!(["a", " "])), [Input::Text("a".into()), Input::Text(" ".into())]);
    let url = "data:image/png;base64,AAAA";
    let picture = Picture::parse(url.into()).unwrap();
    assert_eq!(
        list(json!([{"image": url}, {"text": "a", "image": url}])),
        [Input::Image(picture.clone()), Input::Both("a".into(), picture)]
    );
}

#[test]
fn an_input_that_cannot_be_is_named_by_its_index() {
    let cases = [
        (json!([]), "input"),
        (json!(""), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!(["a", null]), "input[1]"),
        (json!(["a", 1.5]), "input[1]"),
        (json!([{}]), "input[0]"),
        (json!([{"text": ""}]), "input[0]"),
        (json!([{"image": "https://example.com/a.png"}]), "input[0].image"),
        (json!([{"image": 7}]), "input[0].image"),
        (json!([{"words": "a"}]), "input[0].words"),
        (json!({"text": "a"}), "input"),
        (json!(7), "input"),
        (json!(null), "input"),
        (json!(vec!["a"; 2049]), "input"),
    ];
    for (input, path) in cases {
        let (kind, param, message) = fault(&input);
        assert_eq!((kind, &*param), (Kind::Invalid, path), "{input}: {message}");
    }
}

#[test]
fn tokens_are_refused_with_the_reason() {
    for input in [json!([1, 2, 3]), json!([[1, 2], [3]]), json!([[]])] {
        let (kind, param, message) = fault(&input);
        assert_eq!((kind, &*param), (Kind::Unsupported, "input"));
        assert!(message.contains("not tokens"), "{message}");
    }
}

#[test]
fn base64_is_little_endian_floats_of_four_bytes() {
    let raw = RawValue::from_string("[1, -2.5, 3e-3]".into()).unwrap();
    let bytes = STANDARD.decode(base64(&raw).unwrap()).unwrap();
    let numbers: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers, [1.0, -2.5, 0.003]);
}

#[test]
fn vectors_are_numbered_through_all_calls_and_tokens_added_up() {
    let answered =
        |body: &'static str, input_tokens| Answered { body: Bytes::from_static(body.as_bytes()), input_tokens };
    let answers = [answered(r#"{"embeddings":[[0.10],[2]]}"#, 5), answered(r#"{"embeddings":{"float":[[3]]}}"#, 2)];
    let body = render(Embedding::Cohere4, &answers, 3, "m", Format::Float).unwrap();
    let vector =
        |index: usize, numbers: &str| format!(r#"{{"object":"embedding","index":{index},"embedding":{numbers}}}"#);
    let data = [vector(0, "[0.10]"), vector(1, "[2]"), vector(2, "[3]")].join(",");
    let usage = r#"{"prompt_tokens":7,"total_tokens":7}"#;
    let expected = format!(r#"{{"object":"list","data":[{data}],"model":"m","usage":{usage}}}"#);
    assert_eq!(String::from_utf8(body).unwrap(), expected);

    let too_few = render(Embedding::Cohere4, &answers, 4, "m", Format::Float).unwrap_err();
    assert_eq!(too_few.kind(), Kind::UpstreamUnavailable);
}
