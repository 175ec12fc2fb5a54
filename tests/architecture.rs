//! The one rule of structure that a test holds: who may import whom, and which folder may name which crate.
//!
//! The source is read as text. A module is the first path segment after `crate::`; a folder's own modules may import
//! each other as they like.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers, lowest first; see `docs/ARCHITECTURE.md`. A module imports only from lower layers.
const LAYERS: [(&str, u8); 37] = [
    ("bucket", 0),
    ("clock", 0),
    ("config", 0),
    ("converse", 0),
    ("error", 0),
    ("ids", 0),
    ("memory", 0),
    ("money", 0),
    ("recent", 0),
    ("report", 0),
    ("scan", 0),
    ("sigv4", 0),
    ("splice", 0),
    ("table", 0),
    ("telemetry", 0),
    ("timer", 0),
    ("catalog", 1),
    ("families", 1),
    ("shared", 1),
    ("store", 1),
    ("client", 2),
    ("fetch", 2),
    ("idempotency", 2),
    ("invocations", 2),
    ("issuers", 2),
    ("responses", 2),
    ("policy", 2),
    ("tenancy", 2),
    ("upstream", 2),
    ("doctor", 3),
    ("gateway", 3),
    ("refresh", 3),
    ("batch", 4),
    ("api", 5),
    ("app", 6),
    ("cli", 7),
    ("simulator", 0),
];

/// Imports that stay within one layer, each with its reason.
const SIDEWAYS: [(&str, &str); 16] = [
    // The leaves that every module may name.
    ("config", "error"),
    ("telemetry", "clock"),
    ("telemetry", "error"),
    ("telemetry", "ids"),
    ("telemetry", "money"),
    // Where traces and captured prompts go is a setting.
    ("telemetry", "config"),
    ("error", "report"),
    ("ids", "error"),
    ("ids", "clock"),
    // They are told what time it is.
    ("bucket", "clock"),
    ("sigv4", "clock"),
    // What a family is like is read off the catalog's facts.
    ("families", "catalog"),
    ("config", "money"),
    ("converse", "error"),
    // What issuers publish is fetched, and nothing but `fetch` speaks HTTP to strangers.
    ("issuers", "fetch"),
    // Its tests have the server that those of `fetch` have.
    ("client", "fetch"),
];

/// Crates and the only places that may name them.
const CRATES: [(&str, &[&str]); 10] = [
    // In `upstream` it is the name that rustls has for it.
    ("aws_lc_rs", &["shared", "tenancy", "upstream"]),
    ("axum", &["api", "app", "simulator"]),
    ("aws_", &["upstream"]),
    ("redis", &["shared"]),
    // A client of a gateway at the command line, and of the collector of traces, where nobody else chooses whom to connect
    // to; and all else.
    ("reqwest", &["client", "fetch", "telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_", &["telemetry"]),
    ("sqlx", &["store", "tenancy", "batch", "idempotency", "invocations", "responses"]),
    ("jsonwebtoken", &["issuers"]),
    ("prometheus", &["telemetry"]),
];

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = BTreeMap::from(LAYERS);
    let mut wrong = Vec::new();
    for (module, file, source) in sources() {
        let Some(own) = layers.get(module.as_str()) else {
            wrong.push(format!("{file}: module `{module}` has no layer"));
            continue;
        };
        for import in imports(&source) {
            let Some(other) = layers.get(import) else { continue };
            let allowed = import == module || other < own || SIDEWAYS.contains(&(module.as_str(), import));
            if !allowed {
                wrong.push(format!("{file}: `{module}` (layer {own}) imports `{import}` (layer {other})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_simulator_imports_nothing_of_this_crate() {
    for (module, file, source) in sources() {
        if module == "simulator" {
            let others: Vec<_> = imports(&source).into_iter().filter(|import| *import != "simulator").collect();
            assert!(others.is_empty(), "{file} imports {others:?}");
        } else if !["app", "cli"].contains(&module.as_str()) {
            assert!(!imports(&source).contains(&"simulator"), "{file} imports the simulator");
        }
    }
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, file, source) in sources() {
        for (name, places) in CRATES {
            if !places.contains(&module.as_str()) && names_crate(&source, name) {
                wrong.push(format!("{file} names `{name}`, which belongs in {places:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_opens_by_saying_what_lives_in_it() {
    for (_, file, source) in sources() {
        assert!(source.starts_with("//!"), "{file} does not open with a `//!` comment");
    }
}

/// Top module, path and code of every source file.
fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let sources = files.into_iter().filter_map(|path| {
        let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let source = fs::read_to_string(&path).unwrap();
        (!["lib", "main"].contains(&module.as_str())).then_some((module, inside, source))
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 30, "the source tree was not found");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The modules named by `crate::...`, comments left out.
fn imports(source: &str) -> Vec<&str> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
        .collect()
}

/// Whether a line of code has a path into the crate (or, when `name` ends in `_`, into a crate whose name begins so).
fn names_crate(source: &str, name: &str) -> bool {
    source.lines().filter(|line| !line.trim_start().starts_with("//")).map(without_strings).any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let rest = &line[at + name.len()..];
            // Cryptography, of AWS's making: it speaks to nobody.
            let is_other = name == "aws_" && line[at..].starts_with("aws_lc_rs");
            let path = if name.ends_with('_') {
                rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').starts_with("::")
            } else {
                rest.starts_with("::")
            };
            path && !is_other && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

/// The line without what stands in double quotes: a log target may be called like a crate.
fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}
