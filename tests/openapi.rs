//! The committed OpenAPI document is what the code says.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_document_agrees_with_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let code = bedrock_gateway::api::openapi().to_pretty_json().unwrap() + "\n";
    assert!(
        committed == code,
        "openapi/openapi.json is not what the code says; run: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn every_route_of_the_document_needs_a_key_and_says_so() {
    let document = serde_json::to_value(bedrock_gateway::api::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 6, "{paths:?}");
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let ways = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {path}"));
            let by = |scheme: &str| ways.iter().filter(|way| way[scheme].is_array()).count();
            assert!(by("key") > 0 && by("key") == by("x-api-key"), "{method} {path}");
            for way in ways {
                let scopes = way["key"].as_array().or(way["x-api-key"].as_array());
                let scopes = scopes.unwrap_or_else(|| panic!("{method} {path}: {way}"));
                let scope = scopes[0].as_str().unwrap();
                let known = ["inference", "batch", "admin", "metrics"];
                assert!(scopes.len() == 1 && known.contains(&scope), "{method} {path}: {way}");
            }
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        }
    }
}
