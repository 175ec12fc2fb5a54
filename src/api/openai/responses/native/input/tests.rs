//! What becomes of the items of a request, and of those before it.

use serde_json::{Value, json};

use super::*;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";
/// Reasoning as the translation seals it: base64 of `{"by":"anthropic","text":"hm"}`.
const SEALED: &str =
    r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"eyJieSI6ImFudGhyb3BpYyIsInRleHQiOiJobSJ9"}"#;
const READABLE: &str = r#"{"type":"reasoning", "id":"rs_2","summary":[],"encrypted_content":"gAAAAAB"}"#;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn turn(input: &str, output: &str) -> Turn {
    Turn { model: "m".into(), input: input.into(), output: output.into() }
}

/// What is kept of an input, by a response of AWS.
fn kept(input: &str) -> Value {
    let input = raw(input);
    let mut out = String::new();
    for (position, item) in Input::read(Some(&input)).unwrap().to_keep().iter().enumerate() {
        out.push(if position == 0 { '[' } else { ',' });
        item.write("resp_abc", position, &mut out);
    }
    serde_json::from_str(&(out + "]")).unwrap()
}

#[test]
fn items_keep_their_bytes_behind_what_came_before() {
    let own = raw(r#"[{"role":"user", "content":"caf\u00e9","new":1.0e0}]"#);
    let mut input = Input::read(Some(&own)).unwrap();
    assert_eq!(input.changed(), None);
    let mut report = Report::default();
    input.put_after(&turn(r#"[{"a": 1}]"#, " [ ] "), Maker::Other, &mut report).unwrap();
    input.put_after(&turn("[]", r#"[{"b":2},{"c":3}]"#), Maker::Same, &mut report).unwrap();
    let expected = r#"[{"a": 1},{"b":2},{"c":3},{"role":"user", "content":"caf\u00e9","new":1.0e0}]"#;
    assert_eq!((input.changed().as_deref(), report.is_empty()), (Some(expected), true));
    let mut nothing = Input::read(None).unwrap();
    nothing.put_after(&turn("[]", "[]"), Maker::Same, &mut report).unwrap();
    assert_eq!(nothing.changed().as_deref(), Some("[]"));
}

#[test]
fn a_text_becomes_a_message_of_the_user() {
    let own = raw(r#""say \"hi\"""#);
    let mut input = Input::read(Some(&own)).unwrap();
    assert_eq!(input.changed(), None);
    input.put_after(&turn("[]", "[]"), Maker::Same, &mut Report::default()).unwrap();
    let expected =
        json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say \"hi\""}]}]);
    assert_eq!(serde_json::from_str::<Value>(&input.changed().unwrap()).unwrap(), expected);
    for wrong in ["7", "{}", "true"] {
        assert_eq!(Input::read(Some(&raw(wrong))).unwrap_err().blamed(), Some("input"));
    }
}

#[test]
fn reasoning_that_the_model_cannot_read_is_left_out_and_named() {
    let own = raw(&format!(r#"[{READABLE},{SEALED},{{"role":"user","content":"encrypted_content"}}]"#));
    let mut input = Input::read(Some(&own)).unwrap();
    let mut report = Report::default();
    input.leave_out_unreadable(&mut report);
    assert_eq!(report.to_string(), "dropped:input[1]");
    assert_eq!(input.changed().unwrap(), format!(r#"[{READABLE},{{"role":"user","content":"encrypted_content"}}]"#));

    let earlier = turn("[]", &format!(r#"[{READABLE},{SEALED},{{"type":"message"}}]"#));
    for (maker, left) in
        [(Maker::Same, format!(r#"{READABLE},{{"type":"message"}}"#)), (Maker::Other, r#"{"type":"message"}"#.into())]
    {
        let (mut input, mut report) = (Input::read(None).unwrap(), Report::default());
        input.put_after(&earlier, maker, &mut report).unwrap();
        assert_eq!(report.to_string(), "dropped:previous_response_id");
        assert_eq!(input.changed().unwrap(), format!("[{left}]"));
    }
    let without = turn(r#"[{"type":"reasoning","id":"rs_3","summary":[]}]"#, "[]");
    let (mut input, mut report) = (Input::read(None).unwrap(), Report::default());
    input.put_after(&without, Maker::Same, &mut report).unwrap();
    assert_eq!((input.changed().as_deref(), report.is_empty()), (Some("[]"), false));
}

#[test]
fn references_are_found_with_and_without_their_type() {
    let own = raw(
        r#"[{"role":"user","content":"x","id":"msg_1"},{"type":"item_reference","id":"msg_2"},{"id":"rs_3"},{"type":"item_reference"}]"#,
    );
    let mut input = Input::read(Some(&own)).unwrap();
    let found = input.references();
    assert_eq!(found, [(1, Some("msg_2".to_owned())), (2, Some("rs_3".to_owned())), (3, None)]);
    input.resolve(1, r#"{"type":"message"}"#);
    assert!(input.changed().unwrap().contains(r#""id":"msg_1"},{"type":"message"},{"id":"rs_3"}"#));
    let plain = raw(r#"[{"role":"user","content":"item_reference and image_url"}]"#);
    assert!(may_point_elsewhere(&own) && !may_point_elsewhere(&plain));
}

#[test]
fn what_stands_elsewhere_is_found_and_put_in_its_place() {
    let own = raw(r#"[{"role":"user","content":"image_url https://a/"},
            {"role":"user","content":[{"type":"input_image","detail":"low","image_url":"https:\/\/b/x.png"},
                {"type":"input_image","image_url":"data:image/png;base64,AAAA"},
                {"type":"input_file","file_url":"https://c/d/e.pdf?f=g"}]},
            {"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_data":"https://h","filename":"i.txt"},
                {"type":"input_file","file_data":"aGk="},{"type":"input_image","image_url":"s3://j"}]}]"#);
    let mut input = Input::read(Some(&own)).unwrap();
    let pointed = input.pointed();
    let places: Vec<_> = pointed.iter().map(Pointed::remote).map(|remote| (remote.path, remote.url)).collect();
    let expected = [
        ("input[1].content[0].image_url", "https://b/x.png"),
        ("input[1].content[2].file_url", "https://c/d/e.pdf?f=g"),
        ("input[2].output[0].file_data", "https://h"),
    ];
    assert_eq!(places, expected.map(|(path, url)| (path.to_owned(), url.to_owned())));
    let payload = |base64: &str, said: &str| Payload { base64: base64.into(), media_type: Some(said.into()) };
    let found =
        vec![payload(PNG, "text/html"), payload("JVBERi0=", "text/html"), payload("aGk=", "text/plain; charset=utf-8")];
    let mut report = Report::default();
    input.fill(pointed, found, &mut report).unwrap();
    assert_eq!(
        report.to_string(),
        "fetched:input[1].content[0].image_url,fetched:input[1].content[2].file_url,fetched:input[2].output[0].file_data"
    );
    let sent: Value = serde_json::from_str(&input.changed().unwrap()).unwrap();
    assert_eq!(
        sent[1]["content"],
        json!([
            {"type": "input_image", "detail": "low", "image_url": format!("data:image/png;base64,{PNG}")},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "e.pdf"},
        ])
    );
    assert_eq!(
        sent[2]["output"][0],
        json!({"type": "input_file", "filename": "i.txt", "file_data": "data:text/plain;base64,aGk="})
    );
    assert_eq!(sent[2]["output"][2]["image_url"], "s3://j");

    let own = raw(r#"[{"role":"user","content":[{"type":"input_image","image_url":"https://a/"}]}]"#);
    let mut input = Input::read(Some(&own)).unwrap();
    let error = input.fill(input.pointed(), vec![payload("aGk=", "image/png")], &mut report).unwrap_err();
    assert_eq!(error.blamed(), Some("input[0].content[0].image_url"));
}

#[test]
fn a_file_has_the_name_that_its_url_ends_with() {
    let names = ["https://a/b/c.pdf?d#e", "https://a/b/", "https://a", "https://a/b#c/d"].map(file_name);
    assert_eq!(names, ["c.pdf", "file", "file", "b"]);
}

#[test]
fn what_is_kept_has_ids_and_the_form_of_a_list() {
    assert_eq!(
        kept(
            r#"[{"role":"user","content":"a","id":null,"type":null},{"role":"assistant","content":"b","id":"msg_mine"},
            {"type":"function_call_output","call_id":"c","output":"d"},{"type":"message","status":"incomplete","role":"user","content":[]}]"#
        ),
        json!([
            {"id": "msg_abc_0000i", "type": "message", "status": "completed", "role": "user",
             "content": [{"type": "input_text", "text": "a"}]},
            {"id": "msg_mine", "type": "message", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "annotations": [], "text": "b"}]},
            {"id": "fco_abc_0002i", "type": "function_call_output", "call_id": "c", "output": "d"},
            {"id": "msg_abc_0003i", "type": "message", "status": "incomplete", "role": "user", "content": []},
        ])
    );
    assert_eq!(kept("\"hi\"")[0]["id"], "msg_abc_0000i");
    assert_eq!(kept("[{},7]"), json!([{"id": "msg_abc_0000i"}, 7]));
}
