//! Surveys of files: what is wrong with lines, which ids are repeated, and what the groups amount to.

use super::*;

fn survey(text: impl AsRef<[u8]>) -> Survey {
    pieces(text.as_ref(), 7)
}

fn pieces(text: &[u8], piece: usize) -> Survey {
    let mut surveyor = Survey::begin();
    for piece in text.chunks(piece) {
        surveyor.push(piece).unwrap();
    }
    surveyor.finish().unwrap()
}

fn chat(id: &str, model: &str) -> String {
    format!(
        "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\
         \"body\":{{\"model\":\"{model}\",\"max_tokens\":5}}}}\n"
    )
}

fn told(survey: &Survey) -> Vec<(Option<u64>, &str)> {
    survey.problems.iter().map(|problem| (problem.line, &*problem.code)).collect()
}

#[test]
fn records_are_counted_by_model_with_what_they_ask_for() {
    let text = [chat("1", "a"), chat("2", "b"), "\r\n".into(), chat("3", "a"), "  ".into()].concat();
    let survey = survey(&text);
    assert_eq!(survey.problems, []);
    assert_eq!((survey.form, survey.records, survey.bad), (Some(Form::OpenAi), 3, 0));
    assert_eq!(survey.url.as_deref(), Some("/v1/chat/completions"));
    assert_eq!(survey.bytes, text.len() as u64);
    let body = r#"{"model":"a","max_tokens":5}"#.len() as u64;
    let groups = [("a", 2), ("b", 1)].map(|(model, records)| Group {
        model: model.into(),
        load: Load { records, bytes: records * body, max_output: 5 * records, unstated: 0 },
    });
    assert_eq!(survey.groups, groups);
    assert_eq!(survey.load().records, 3);
    let json = serde_json::to_string(&survey).unwrap();
    assert_eq!(serde_json::from_str::<Survey>(&json).unwrap(), survey);
}

#[test]
fn marks_breaks_and_a_missing_last_break_change_nothing() {
    let plain = [chat("1", "a"), chat("2", "a")].concat();
    let marked = format!("\u{feff}{}", plain.replace('\n', "\r\n").trim_end());
    for piece in [1, 2, 3, 1000] {
        let survey = Survey { bytes: 0, ..pieces(marked.as_bytes(), piece) };
        assert_eq!(survey, Survey { bytes: 0, ..pieces(plain.as_bytes(), piece) });
    }
}

#[test]
fn each_bad_line_is_named_and_the_good_ones_are_still_counted() {
    let text = [
        chat("1", "a").into_bytes(),
        b"{\"custom_id\": \"2\",\n".to_vec(),
        b"[1]\n".to_vec(),
        b"{\"custom_id\": \"\xff\"}\n".to_vec(),
        chat("1", "a").into_bytes(),
        chat("3", "a").replace("POST", "GET").into_bytes(),
        chat("4", "a").replace("chat/completions", "embeddings").into_bytes(),
        b"{} {}\n".to_vec(),
        chat("1", "a").into_bytes(),
        b"{\"custom_id\":\"9\"}\n".to_vec(),
    ]
    .concat();
    let survey = survey(text);
    let expected = [
        (Some(2), "invalid_json_line"),
        (Some(3), "invalid_json_line"),
        (Some(4), "invalid_json_line"),
        (Some(5), "duplicate_custom_id"),
        (Some(6), "invalid_method"),
        (Some(7), "invalid_url"),
        (Some(8), "invalid_json_line"),
        (Some(9), "duplicate_custom_id"),
        (Some(10), "missing_required_parameter"),
    ];
    assert_eq!(told(&survey), expected);
    assert_eq!((survey.records, survey.bad), (10, 9));
    assert_eq!(survey.problems[3].message, "The `custom_id` of this line is that of line 1.");
    assert_eq!(survey.problems[3].param.as_deref(), Some("custom_id"));
    assert!(survey.problems[0].message.contains("at column 18"), "{}", survey.problems[0].message);
    assert!(survey.problems[2].message.contains("from its byte 16"), "{}", survey.problems[2].message);
}

#[test]
fn a_url_that_no_batch_is_for_is_named_in_its_own_line_and_not_in_those_that_are_good() {
    let bogus = chat("1", "a").replace("chat/completions", "bogus");
    let survey = survey([bogus, chat("2", "a"), chat("3", "a")].concat());
    assert_eq!((told(&survey), survey.url.as_deref()), (vec![(Some(1), "invalid_url")], Some("/v1/chat/completions")));
}

#[test]
fn a_file_without_records_is_empty() {
    for text in ["", "\n\n", "\u{feff}", " \r\n"] {
        let survey = survey(text);
        assert_eq!((told(&survey), survey.records), (vec![(None, "empty_file")], 0), "{text:?}");
    }
}

#[test]
fn a_line_beyond_the_limit_is_told_by_its_length() {
    let mut surveyor = Survey::begin();
    for _ in 0..26 {
        surveyor.push(&vec![b'x'; 1 << 20]).unwrap();
    }
    surveyor.push(b"\n").unwrap();
    surveyor.push(chat("1", "a").as_bytes()).unwrap();
    let survey = surveyor.finish().unwrap();
    assert_eq!(told(&survey), [(Some(1), "line_too_large")]);
    assert!(survey.problems[0].message.contains("27262976"), "{}", survey.problems[0].message);
    assert_eq!((survey.records, survey.load().records), (2, 1));
}

#[test]
fn the_first_hundred_problems_are_told_and_all_are_counted() {
    let text: String = (0..150).map(|index| chat(&(index % 10).to_string(), "a")).collect();
    let survey = survey(text + &"x\n".repeat(70));
    assert_eq!((survey.records, survey.bad), (220, 210));
    assert_eq!(survey.problems.len(), MAX_PROBLEMS);
    assert!(survey.problems.iter().all(|problem| problem.code == "duplicate_custom_id"));
    assert_eq!(survey.problems.last().unwrap().line, Some(110));
}

#[test]
fn the_other_forms_are_told_by_their_first_line() {
    let messages = survey(
        "{\"custom_id\":\"a\",\"params\":{\"model\":\"m\"}}\n{\"custom_id\":\"a\",\"params\":{\"model\":\"m\"}}",
    );
    assert_eq!((messages.form, told(&messages)), (Some(Form::Anthropic), vec![(Some(2), "duplicate_custom_id")]));
    assert_eq!(messages.groups[0].load.unstated, 2);
    let native =
        survey("{\"recordId\":\"a\",\"modelInput\":{}}\n{\"recordId\":\"a\",\"modelInput\":{}}\n{\"modelInput\":{}}");
    assert_eq!((native.form, told(&native)), (Some(Form::Bedrock), vec![]));
    assert_eq!((&*native.groups[0].model, native.groups[0].load.records), ("", 3));
    let mixed = survey(format!("{{\"modelInput\":{{}}}}\n{}", chat("1", "a")));
    assert_eq!(told(&mixed), [(Some(2), "missing_required_parameter")]);
}

#[test]
fn more_models_than_are_planned_are_refused() {
    let text: String = (0..60).map(|index| chat(&index.to_string(), &format!("m{index}"))).collect();
    let survey = survey(text);
    assert_eq!(survey.groups.len(), MAX_MODELS);
    assert_eq!(
        told(&survey),
        vec![(Some(51), "too_many_models"); 10]
            .into_iter()
            .zip(51..)
            .map(|((_, code), line)| (Some(line), code))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_full_disk_is_no_fault_of_the_file() {
    let error = no_room(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!((error.kind(), error.wait()), (Kind::Unavailable, Some(Duration::from_secs(30))));
    assert!(error.causes().contains("no storage space"), "{}", error.causes());
}
