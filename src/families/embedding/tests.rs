//! What each family is sent and what its answers say.

use serde_json::{Value, json};

use super::*;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn texts(texts: &[&str]) -> Vec<Input> {
    texts.iter().map(|text| Input::Text((*text).to_owned())).collect()
}

fn picture() -> Picture {
    Picture::parse(PNG.to_owned()).unwrap()
}

fn settings(value: Value) -> Settings {
    let Value::Object(mut extra) = value else { panic!("not an object") };
    let mut text = |key: &str| extra.remove(key).map(|value| value.as_str().unwrap().to_owned());
    let (input_type, truncate) = (text("input_type"), text("truncate"));
    let dimensions = extra.remove("dimensions").map(|value| value.as_u64().unwrap().try_into().unwrap());
    Settings { dimensions, input_type, truncate, extra }
}

fn body(family: Embedding, inputs: &[Input], asked: Value) -> Value {
    let mut settings = settings(asked);
    family.judge(inputs, &mut settings, &mut Report::default()).unwrap();
    serde_json::from_slice(&family.body(inputs, &settings).unwrap()).unwrap()
}

fn refused(family: Embedding, asked: Value) -> (String, String) {
    let error = family.judge(&[], &mut settings(asked), &mut Report::default()).unwrap_err();
    (error.blamed().unwrap().to_owned(), error.message().to_owned())
}

fn numbers(family: Embedding, answer: &Value) -> Vec<String> {
    let answer = answer.to_string();
    family.read(answer.as_bytes()).unwrap().numbers.iter().map(|raw| raw.get().to_owned()).collect()
}

#[test]
fn titan_takes_a_text_and_what_its_version_knows() {
    let hello = texts(&["hello"]);
    assert_eq!(body(Embedding::Titan1, &hello, json!({"dimensions": 1536})), json!({"inputText": "hello"}));
    assert_eq!(
        body(Embedding::Titan2, &hello, json!({"dimensions": 256, "normalize": false})),
        json!({"inputText": "hello", "dimensions": 256, "normalize": false})
    );
    let both = [Input::Both("a cat".into(), picture())];
    assert_eq!(
        body(Embedding::TitanImage, &both, json!({"dimensions": 384})),
        json!({"inputText": "a cat", "inputImage": "iVBORw0KGgo=", "embeddingConfig": {"outputEmbeddingLength": 384}})
    );
}

#[test]
fn cohere_takes_lists_and_an_input_type() {
    assert_eq!(
        body(Embedding::Cohere3, &texts(&["a", "b"]), json!({})),
        json!({"texts": ["a", "b"], "input_type": "search_document"})
    );
    assert_eq!(
        body(Embedding::Cohere3, &[Input::Image(picture())], json!({"input_type": "search_query"})),
        json!({"images": [PNG], "input_type": "image"})
    );
    let asked = json!({"dimensions": 256, "input_type": "search_query", "truncate": "RIGHT", "max_tokens": 9});
    assert_eq!(
        body(Embedding::Cohere4, &texts(&["a"]), asked),
        json!({"texts": ["a"], "input_type": "search_query", "truncate": "RIGHT", "output_dimension": 256, "max_tokens": 9})
    );
    let mixed = [Input::Text("a".into()), Input::Both("b".into(), picture())];
    assert_eq!(
        body(Embedding::Cohere4, &mixed, json!({})),
        json!({
            "inputs": [
                {"content": [{"type": "text", "text": "a"}]},
                {"content": [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": PNG}}]},
            ],
            "input_type": "search_document",
        })
    );
}

#[test]
fn nova_is_told_what_it_requires() {
    let params = |purpose: &str, dimension: u32, truncation: &str| {
        json!({
            "schemaVersion": "nova-multimodal-embed-v1",
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": purpose,
                "embeddingDimension": dimension,
                "text": {"truncationMode": truncation, "value": "hello"},
            },
        })
    };
    let hello = texts(&["hello"]);
    assert_eq!(body(Embedding::Nova, &hello, json!({})), params("GENERIC_INDEX", 3072, "NONE"));
    let asked = json!({"dimensions": 256, "input_type": "search_query", "truncate": "END"});
    assert_eq!(body(Embedding::Nova, &hello, asked), params("GENERIC_RETRIEVAL", 256, "END"));
    let own_words = json!({"embeddingPurpose": "CLUSTERING", "embeddingDimension": 384});
    assert_eq!(body(Embedding::Nova, &hello, own_words), params("CLUSTERING", 384, "NONE"));
    assert_eq!(
        body(Embedding::Nova, &hello, json!({"input_type": "classification"})),
        params("CLASSIFICATION", 3072, "NONE")
    );
    let image = body(Embedding::Nova, &[Input::Image(picture())], json!({}));
    assert_eq!(image["singleEmbeddingParams"]["image"], json!({"format": "png", "source": {"bytes": "iVBORw0KGgo="}}));
}

#[test]
fn marengo_nests_the_input_since_its_third_version() {
    let hello = texts(&["hello"]);
    assert_eq!(
        body(Embedding::Marengo2, &hello, json!({})),
        json!({"inputType": "text", "inputText": "hello", "textTruncate": "none"})
    );
    assert_eq!(body(Embedding::Marengo2, &hello, json!({"truncate": "END"}))["textTruncate"], "end");
    assert_eq!(
        body(Embedding::Marengo2, &[Input::Image(picture())], json!({})),
        json!({"inputType": "image", "mediaSource": {"base64String": "iVBORw0KGgo="}})
    );
    assert_eq!(
        body(Embedding::Marengo3, &hello, json!({})),
        json!({"inputType": "text", "text": {"inputText": "hello"}})
    );
    assert_eq!(
        body(Embedding::Marengo3, &[Input::Both("a cat".into(), picture())], json!({})),
        json!({"inputType": "text_image", "text_image": {"inputText": "a cat", "mediaSource": {"base64String": "iVBORw0KGgo="}}})
    );
}

#[test]
fn the_numbers_of_every_answer_are_passed_on_as_they_are_written() {
    let list = json!([0.1, -2e-7]);
    let told = vec![list.to_string()];
    assert_eq!(numbers(Embedding::Titan1, &json!({"embedding": list, "inputTextTokenCount": 3})), told);
    let by_type = json!({"embeddingsByType": {"binary": [1, 0]}, "inputTextTokenCount": 3});
    assert_eq!(numbers(Embedding::Titan2, &by_type), ["[1,0]"]);
    assert_eq!(numbers(Embedding::Nova, &json!({"embeddings": [{"embeddingType": "TEXT", "embedding": list}]})), told);
    assert_eq!(numbers(Embedding::Marengo3, &json!({"data": [{"embedding": list}]})), told);
    assert_eq!(numbers(Embedding::Cohere3, &json!({"id": "x", "embeddings": [list, [3]]})), [&told[0], "[3]"]);
    assert_eq!(numbers(Embedding::Cohere4, &json!({"embeddings": {"int8": [[-7, 7]]}})), ["[-7,7]"]);
    let titan = br#"{"embedding":[1],"inputTextTokenCount":3,"message":null}"#;
    assert_eq!(Embedding::TitanImage.read(titan).unwrap().input_tokens, Some(3));
    for family in [Embedding::Titan2, Embedding::Cohere4, Embedding::Nova, Embedding::Marengo2] {
        assert!(family.read(b"{}").is_err() && family.read(b"[]").is_err(), "{family:?}");
    }
}

#[test]
fn dimensions_that_are_not_offered_are_refused_with_those_that_are() {
    let (param, message) = refused(Embedding::Nova, json!({"dimensions": 512}));
    assert_eq!((&*param, &*message), ("dimensions", "This model offers vectors of 256, 384, 1024, 3072 dimensions."));
    for (family, only) in [(Embedding::Titan1, 1536), (Embedding::Cohere3, 1024), (Embedding::Marengo3, 512)] {
        assert!(refused(family, json!({"dimensions": 100})).1.contains(&only.to_string()));
        assert!(family.judge(&[], &mut settings(json!({"dimensions": only})), &mut Report::default()).is_ok());
    }
}

#[test]
fn a_field_that_the_gateway_writes_cannot_be_slipped_in() {
    assert_eq!(refused(Embedding::Titan2, json!({"inputText": "x"})).0, "inputText");
    assert_eq!(refused(Embedding::Cohere4, json!({"texts": []})).0, "texts");
    assert_eq!(refused(Embedding::Cohere4, json!({"dimensions": 256, "output_dimension": 512})).0, "output_dimension");
    assert_eq!(refused(Embedding::Nova, json!({"input_type": "x", "embeddingPurpose": "y"})).0, "embeddingPurpose");
    assert_eq!(refused(Embedding::Marengo2, json!({"truncate": "END", "textTruncate": "none"})).0, "textTruncate");
    assert_eq!(refused(Embedding::Cohere3, json!({"embedding_types": ["float", "int8"]})).0, "embedding_types");
}

#[test]
fn what_a_model_has_no_word_for_is_left_out_and_reported() {
    let mut asked = settings(json!({"input_type": "search_query", "truncate": "END"}));
    let mut report = Report::default();
    Embedding::Titan2.judge(&[], &mut asked, &mut report).unwrap();
    assert_eq!(report.to_string(), "dropped:input_type,dropped:truncate");
    let sent: Value = serde_json::from_slice(&Embedding::Titan2.body(&texts(&["a"]), &asked).unwrap()).unwrap();
    assert_eq!(sent, json!({"inputText": "a"}));

    let mut quiet = Report::default();
    Embedding::Titan2.judge(&[], &mut settings(json!({"truncate": "NONE"})), &mut quiet).unwrap();
    assert!(quiet.is_empty());
}

#[test]
fn inputs_share_calls_as_far_as_the_model_lets_them() {
    let many: Vec<Input> = (0..200).map(|n| Input::Text(n.to_string())).collect();
    assert_eq!(Embedding::Cohere3.calls(&many), [0..96, 96..192, 192..200]);
    assert_eq!(Embedding::Titan2.calls(&many).len(), 200);
    let mixed = [Input::Text("a".into()), Input::Text("b".into()), Input::Image(picture()), Input::Text("c".into())];
    assert_eq!(Embedding::Cohere3.calls(&mixed), [0..2, 2..3, 3..4]);
    assert_eq!(Embedding::Cohere4.calls(&mixed), std::slice::from_ref(&(0..4)));
}

#[test]
fn a_picture_is_a_data_url_of_an_image() {
    let picture = picture();
    assert_eq!((picture.format(), picture.base64(), picture.url()), ("png", "iVBORw0KGgo=", PNG));
    let format = |url: &str| Picture::parse(url.to_owned()).unwrap().format().to_owned();
    assert_eq!(format("data:image/png;base64,/9j/4AAQ"), "jpeg");
    assert_eq!(format("data:image/tiff;base64,AAAA"), "tiff");
    for bad in [
        "",
        "data:image/png;base64,",
        "data:image/;base64,AA",
        "data:text/plain;base64,AA",
        "https://a/b,c",
        "data:image/png,AA",
    ] {
        assert!(Picture::parse(bad.to_owned()).is_none(), "{bad}");
    }
    assert!(Embedding::Titan2.takes(&Input::Image(picture.clone())).is_err());
    assert!(Embedding::Nova.takes(&Input::Both("a".into(), picture.clone())).is_err());
    assert!(Embedding::Marengo3.takes(&Input::Both("a".into(), picture)).is_ok());
}

#[test]
fn every_embedding_model_of_the_catalog_has_a_family() {
    let catalog = crate::catalog::Catalog::configured(&crate::config::Config::default()).unwrap();
    let regions: Vec<_> = catalog.regions().iter().map(|region| region.code.clone()).collect();
    let open = crate::catalog::Fence::default();
    let models: Vec<_> =
        catalog.models(&regions, &open).filter(|model| model.kind == crate::catalog::Kind::Embedding).collect();
    assert!(models.len() >= 8, "{models:?}");
    for model in models {
        assert!(Embedding::of(model).is_some(), "{}", model.id);
    }
}
