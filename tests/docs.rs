//! The documents say what is so: names of files and functions exist, links lead somewhere, lists are complete.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/settings.rs"]
mod settings;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bedrock_gateway::telemetry::Metrics;
use bedrock_gateway::telemetry::traces::{ATTRIBUTES, EVENTS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document, with its path.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/decisions", "docs/catalog"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(paths.len() > 10, "the documents were not found");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What stands between backticks in running text.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2))
}

#[test]
fn every_file_and_item_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for span in code_spans(&text) {
            let (file, item) = span.split_once("::").map_or((span, None), |(file, item)| (file, Some(item)));
            let is_path = ["src/", "tests/", "docs/", "data/", "benches/", "scripts/", "migrations/", "openapi/"];
            if !is_path.iter().any(|folder| file.starts_with(folder))
                || file.contains(['*', '{', ' '])
                || file.contains("...")
            {
                continue;
            }
            let Ok(source) = fs::read_to_string(root().join(file)) else {
                if item.is_some() || !root().join(file).is_dir() {
                    wrong.push(format!("{}: there is no {file}", path.display()));
                }
                continue;
            };
            let Some(item) = item else { continue };
            let name = item.rsplit("::").next().unwrap();
            let is_defined = ["fn ", "struct ", "enum ", "const ", "trait ", "mod ", "def "].iter().any(|keyword| {
                source.match_indices(&format!("{keyword}{name}")).any(|(at, found)| ends(&source[at + found.len()..]))
            });
            if !is_defined {
                wrong.push(format!("{}: {file} has no {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether an identifier ends before `rest`.
fn ends(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() && !path.parent().unwrap().join(file).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_is_in_the_index() {
    let index = document("docs/README.md");
    let missing = |(path, _): &(PathBuf, String)| {
        let name = path.strip_prefix(root().join("docs")).ok()?.to_str()?.to_owned();
        let is_told = name.starts_with("decisions/") || name == "README.md" || index.contains(&format!("]({name})"));
        (!is_told).then_some(name)
    };
    assert_eq!(documents().iter().filter_map(missing).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_decision_is_in_the_list() {
    let list = document("docs/decisions/README.md");
    for entry in fs::read_dir(root().join("docs/decisions")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("]({name})")), "{name}");
    }
}

/// What `docs/METRICS.md` holds of the declarations: a table of all families, and one of the buckets.
fn families() -> String {
    let mut table = String::from("| name | type | labels | what |\n|---|---|---|---|\n");
    let mut buckets = String::from("| histogram | upper bounds of its buckets |\n|---|---|\n");
    for family in Metrics::new().unwrap().announced() {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        writeln!(table, "| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help).unwrap();
        let bounds: Vec<_> = family.buckets.iter().map(ToString::to_string).collect();
        if !bounds.is_empty() {
            writeln!(buckets, "| `{}` | {} |", family.name, bounds.join(", ")).unwrap();
        }
    }
    format!("{table}\n{buckets}")
}

/// What `docs/TRACES.md` holds of the declarations: all attributes and events of spans.
fn attributes() -> String {
    let mut table = String::from("| attribute | spans | what it says |\n|---|---|---|\n");
    for attribute in ATTRIBUTES {
        writeln!(table, "| `{}` | {} | {} |", attribute.name, attribute.spans, attribute.what).unwrap();
    }
    table.push_str("\n| event | span | what happened |\n|---|---|---|\n");
    for (name, span, what) in EVENTS {
        writeln!(table, "| `{name}` | {span} | {what} |").unwrap();
    }
    table
}

/// Fails when the part of a document that is made from declarations is not `made`.
fn compare_made(name: &str, made: &str) {
    const BEGIN: &str = "<!-- Made from the declarations: UPDATE_DOCS=1 cargo test --test docs -->\n\n";
    const END: &str = "\n<!-- The end of what is made. -->";
    let text = document(name);
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    if pages::is_rewriting() {
        fs::write(root().join(name), [before, BEGIN, made, END, after].concat()).unwrap();
    }
    assert!(told == made, "{name} is out of step: run UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn the_list_of_metrics_is_what_the_gateway_announces() {
    compare_made("docs/METRICS.md", &families());
}

#[test]
fn the_list_of_attributes_is_what_spans_may_have() {
    compare_made("docs/TRACES.md", &attributes());
}

/// A label that is not explained, or that no family has.
#[test]
fn every_label_of_a_metric_is_explained() {
    let metrics = Metrics::new().unwrap();
    let labels: BTreeSet<_> = metrics.announced().iter().flat_map(|family| family.labels.clone()).collect();
    let text = document("docs/METRICS.md");
    let table = text.split("\n| label | values |\n|---|---|\n").nth(1).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let told: BTreeSet<_> = rows.map(|row| code_spans(row).next().unwrap().to_owned()).collect();
    assert_eq!(told, labels);
}

#[test]
fn every_route_is_in_the_api_document_and_the_other_way_round() {
    let openapi = serde_json::to_value(bedrock_gateway::api::openapi()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        routes.extend(operations.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let text = document("docs/API.md");
    let told: BTreeSet<String> = code_spans(&text)
        .filter(|span| ["GET /", "POST /", "DELETE /", "PUT /", "PATCH /"].iter().any(|start| span.starts_with(start)))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, routes);
}

/// A feature that no test shows is only documented.
#[test]
fn every_feature_that_is_told_names_its_test() {
    let text = document("docs/API.md");
    let tables = text.split("\n| feature ").skip(1);
    let mut rows = 0;
    for table in tables {
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            rows += 1;
            let tests: Vec<_> = code_spans(row).filter_map(|span| span.split_once("::")).collect();
            assert!(!tests.is_empty(), "this row names no test: {row}");
            for (file, name) in tests {
                assert!(is_test(&document(file), name), "{file} has no test {name}");
            }
        }
    }
    assert!(rows > 100, "the tables of features were not found");
}

/// Whether `name` is run as a test: in Rust by an attribute, in Python by its name.
fn is_test(source: &str, name: &str) -> bool {
    source.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let before = source[..at].trim_end_matches("async ").trim_end();
        let above =
            before.lines().rev().map(str::trim).take_while(|line| line.starts_with("#[") || line.starts_with("///"));
        above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    }) || (name.starts_with("test_") && source.contains(&format!("def {name}(")))
}

/// A process of the version before has to go on while a newer one has migrated: docs/UPGRADE.md.
#[test]
fn migrations_only_add() {
    let mut statements = 0;
    for entry in fs::read_dir(root().join("migrations")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let bare: String = text.lines().map(|line| line.split("--").next().unwrap().to_owned() + "\n").collect();
        for statement in bare.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            statements += 1;
            let is_new =
                ["CREATE TABLE ", "CREATE INDEX ", "INSERT INTO "].iter().any(|start| statement.starts_with(start));
            let column = statement.strip_prefix("ALTER TABLE ").and_then(|rest| rest.split_once(" ADD COLUMN "));
            let is_optional = column.is_some_and(|(_, kind)| !kind.contains("NOT NULL") || kind.contains("DEFAULT"));
            assert!(is_new || is_optional, "{}: {statement}", path.display());
        }
    }
    assert!(statements > 50, "{statements}");
}

#[test]
fn the_changes_begin_with_what_is_not_released() {
    let first = document("CHANGELOG.md").lines().find(|line| line.starts_with("## ")).map(str::to_owned);
    assert_eq!(first.as_deref(), Some("## [Unreleased]"));
}
