//! Configuration as a whole: defaults, the example file, layers, and every problem at once.

use std::io::Write;

use super::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&Sources { file: Some(file.path().to_owned()), env })
}

fn problems(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    load_text(text, env).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The example with every setting that has no default set.
fn uncommented() -> String {
    let bare = |line: &str| if line.starts_with("# ") { String::new() } else { line.replacen('#', "", 1) };
    EXAMPLE.lines().map(bare).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_file_and_environment_the_defaults_hold() {
    assert_eq!(load(&Sources::default()).unwrap(), Config::default());
}

#[test]
fn the_example_is_equal_to_the_defaults() {
    assert_eq!(load_text(EXAMPLE, &[]).unwrap(), Config::default());
}

#[test]
fn the_example_uncommented_has_every_key_and_nothing_in_it_is_wrong() {
    let known_keys = |section: &str| {
        let found = problems(&format!("{section}\nno_such_key = 1"), &[]);
        let keys = found.iter().find_map(|problem| Some(problem.split_once("known here: ")?.1));
        let keys = keys.unwrap_or_else(|| panic!("{found:?}"));
        keys.split(", ").map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let example: serde_json::Value = toml::from_str(&uncommented()).unwrap();
    for (section, pointer) in [
        ("", ""),
        ("[server]", "/server"),
        ("[store]\nno = 1", "/store"),
        ("[ledger]", "/ledger"),
        ("[idempotency]", "/idempotency"),
        ("[responses]", "/responses"),
        ("[shared]", "/shared"),
        ("[aws]", "/aws"),
        ("[aws.endpoints.us-east-1]", "/aws/endpoints/us-east-1"),
        ("[fetch]", "/fetch"),
        ("[batch]", "/batch"),
        ("[batch.limits]\nno = 1", "/batch/limits"),
        ("[auth]", "/auth"),
        ("[[auth.jwt]]", "/auth/jwt/0"),
        ("[[models]]", "/models/0"),
        ("[telemetry]\nno = 1", "/telemetry"),
        ("[telemetry.capture]", "/telemetry/capture"),
    ] {
        for key in known_keys(section) {
            assert!(example.pointer(pointer).unwrap().get(&key).is_some(), "{section} {key} is not in the example");
        }
    }
    assert!(load_text(&uncommented(), &[]).is_ok());
}

#[test]
fn every_problem_is_told_at_once_with_its_path() {
    let text = r#"
        surver = 1
        [server]
        listen = "localhost"
        max_body_mb = "many"
        drain_second = 5
        tls_cert = "cert.pem"
        [aws]
        regions = ["us-east-1", 5, "US-EAST-2", "us-east-1"]
        max_attempts = 0
        catalog_refresh_minutes = 1441
        [aws.endpoints.us-east-1]
        runtime = "http://user:hunter2@127.0.0.1/path"
        [batch]
        small_batches = "maybe"
        [[models]]
        alias = "fast"
        [telemetry]
        log = "inof"
    "#;
    assert_eq!(
        problems(text, &[]),
        [
            "aws.catalog_refresh_minutes: 1441 is out of range: 0 to 1440",
            "aws.endpoints.us-east-1.runtime: must be http://HOST[:PORT] or https://HOST[:PORT], without path, query \
             or user",
            "aws.max_attempts: 0 is out of range: 1 to 10",
            "aws.regions[1]: invalid type: integer `5`, expected a string",
            "aws.regions[2]: \"US-EAST-2\" is not a Region name; one looks like \"us-east-1\"",
            "aws.regions[3]: \"us-east-1\" is given twice",
            "batch.small_batches: unknown variant `maybe`, expected `online` or `reject`",
            "models[0].model: is missing",
            "server.drain_second: unknown key; did you mean \"drain_seconds\"?",
            "server.listen: must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
            "server.max_body_mb: invalid type: a string, expected a whole number",
            "server.tls_key: is missing, but server.tls_cert is set",
            "surver: unknown key; did you mean \"server\"?",
            "telemetry.log: \"inof\" is not a level (error, warn, info, debug, trace, off); did you mean \"info\"?",
        ]
    );
}

#[test]
fn items_of_the_wrong_type_do_not_shift_the_others() {
    let text = "models = [1, {}, {alias = \"a\", model = \"b\", extra = 1}]\n[aws]\nregions = [{}, [], \"x\"]";
    let paths: Vec<_> = load_text(text, &[]).unwrap_err().iter().map(|problem| problem.path.clone()).collect();
    let expected =
        ["models[0]", "models[2].extra", "aws.regions[0]", "aws.regions[1]", "aws.regions[2]", "models[1].alias"];
    for path in expected {
        assert!(paths.iter().any(|found| found == path), "{path} is not in {paths:?}");
    }
    assert_eq!(paths.len(), expected.len() + 1, "{paths:?}");
}

#[test]
fn the_environment_wins_over_the_file_and_is_read_by_the_type_of_its_key() {
    let text = "[aws]\nmax_attempts = 2\n[aws.endpoints.us-east-1]\nruntime = \"http://127.0.0.1:1\"";
    let config = load_text(
        text,
        &[
            ("BEDROCK_GATEWAY__AWS__MAX_ATTEMPTS", "3"),
            ("BEDROCK_GATEWAY__AWS__REGIONS", "eu-west-1, eu-central-1"),
            ("BEDROCK_GATEWAY__AWS__ENDPOINTS__US_EAST_1__CONTROL", "http://127.0.0.1:2"),
            ("BEDROCK_GATEWAY__AWS__ENDPOINTS__us-west-2__RUNTIME", "http://127.0.0.1:3"),
            ("BEDROCK_GATEWAY__SERVER__PUBLIC_DOCS", "false"),
            ("BEDROCK_GATEWAY__SERVER__CORS_ORIGINS", "[\"https://a.example\", \"https://b.example\"]"),
            ("BEDROCK_GATEWAY__BATCH__PREFIX", "123"),
            ("BEDROCK_GATEWAY__BATCH__LIMITS__MAX_RECORDS_PER_JOB", "500"),
            ("BEDROCK_GATEWAY__MODELS", "[{ alias = \"fast\", model = \"nova-lite\" }]"),
            ("BEDROCK_GATEWAY_LOCAL", "not ours"),
            ("AWS_BEARER_TOKEN_BEDROCK", "token"),
        ],
    )
    .unwrap();
    assert_eq!(config.aws.max_attempts, 3);
    assert_eq!(config.aws.regions, ["eu-west-1", "eu-central-1"]);
    let endpoints = &config.aws.endpoints["us-east-1"];
    assert_eq!(endpoints.runtime.as_deref(), Some("http://127.0.0.1:1"));
    assert_eq!(endpoints.control.as_deref(), Some("http://127.0.0.1:2"));
    assert_eq!(config.aws.endpoints["us-west-2"].runtime.as_deref(), Some("http://127.0.0.1:3"));
    assert!(!config.server.public_docs);
    assert_eq!(config.server.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.batch.prefix, "123");
    assert_eq!(config.batch.limits.max_records_per_job, Some(500));
    assert_eq!(config.models, [Alias { alias: "fast".into(), model: "nova-lite".into(), ..Alias::default() }]);
    assert_eq!(config.aws.bearer_token.unwrap().expose(), "token");
}

#[test]
fn variables_with_one_underscore_are_told_what_they_mean_and_others_are_nobodys_business() {
    let told = problems(
        "",
        &[
            ("BEDROCK_GATEWAY_SERVER_LISTEN", "127.0.0.1:1"),
            ("BEDROCK_GATEWAY_SERVER__MAX_BODY_MB", "5"),
            ("BEDROCK_GATEWAY_BATCH_LIMITS_MAX_RECORDS_PER_JOB", "5"),
            ("BEDROCK_GATEWAY_BATCH_BUCKET_US_EAST_1", "files"),
            // Kubernetes makes these for Services that are called bedrock-gateway and bedrock-gateway-store.
            ("BEDROCK_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("BEDROCK_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("BEDROCK_GATEWAY_STORE_PORT", "tcp://10.0.0.1:1"),
            ("BEDROCK_GATEWAY_URL", "https://gateway.example.com"),
        ],
    );
    let meant = |name: &str, meant: &str| {
        format!("{name}: is not read; did you mean BEDROCK_GATEWAY__{meant}? Two underscores separate the parts")
    };
    assert_eq!(
        told,
        [
            meant("BEDROCK_GATEWAY_BATCH_BUCKET_US_EAST_1", "BATCH__BUCKET__US_EAST_1"),
            meant("BEDROCK_GATEWAY_BATCH_LIMITS_MAX_RECORDS_PER_JOB", "BATCH__LIMITS__MAX_RECORDS_PER_JOB"),
            meant("BEDROCK_GATEWAY_SERVER_LISTEN", "SERVER__LISTEN"),
            meant("BEDROCK_GATEWAY_SERVER__MAX_BODY_MB", "SERVER__MAX_BODY_MB"),
        ]
    );
}

#[test]
fn what_is_of_another_sort_is_told_in_the_words_of_the_file() {
    let text = r#"
        models = "fast"
        [server]
        ops_listen = 9090
        public_docs = "maybe"
        [batch]
        bucket = "my-bucket"
        [aws]
        regions = "us-east-1"
        [aws.quotas.us-east-1]
        claude-haiku-4-5 = 5
    "#;
    assert_eq!(
        problems(text, &[]),
        [
            "aws.quotas.us-east-1.claude-haiku-4-5: invalid type: integer `5`, expected a table",
            "aws.regions: invalid type: a string, expected a list",
            "batch.bucket: invalid type: a string, expected a table",
            "models: invalid type: a string, expected a list",
            "server.ops_listen: invalid type: integer `9090`, expected an IP address and a port, such as \
             \"127.0.0.1:8080\" or \"[::]:8080\"",
            "server.public_docs: invalid type: a string, expected true or false",
        ]
    );
    let buckets = "[batch]\nbucket = { us-east-1 = \"My_Bucket\" }\n";
    assert_eq!(
        problems(buckets, &[]),
        ["batch.bucket.us-east-1: \"My_Bucket\" is not the name of a bucket: 3 to 63 of a-z, 0-9, - and ., with a \
          letter or digit at each end"]
    );
}

#[test]
fn a_bad_variable_is_named_and_its_value_is_not() {
    let env = [
        ("BEDROCK_GATEWAY__AWS__MAX_ATTEMPTS", "hunter2"),
        ("BEDROCK_GATEWAY__AWS__REGION", "us-east-1"),
        ("BEDROCK_GATEWAY__AUTH__ADMIN_KEY_SHA256", "bgw_id_hunter2"),
        ("BEDROCK_GATEWAY__STORE__URL", "mysql://root:hunter2@db"),
        ("BEDROCK_GATEWAY__STORE__URL__X", "1"),
        ("AWS_BEARER_TOKEN_BEDROCK", "hunter2\n2"),
    ];
    let found = problems("", &env).join("\n");
    for line in [
        "aws.max_attempts (from BEDROCK_GATEWAY__AWS__MAX_ATTEMPTS): invalid type: a string, expected a whole number",
        "aws.region (from BEDROCK_GATEWAY__AWS__REGION): unknown key; did you mean \"regions\"?",
        "auth.admin_key_sha256[0] (from BEDROCK_GATEWAY__AUTH__ADMIN_KEY_SHA256): must be 64 hex",
        "store.url (from BEDROCK_GATEWAY__STORE__URL): must be sqlite://FILE",
        "BEDROCK_GATEWAY__STORE__URL__X: sets a key below one that holds a value",
        "AWS_BEARER_TOKEN_BEDROCK: holds characters",
    ] {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn a_file_that_is_missing_or_broken_is_told_without_its_text() {
    let missing = load(&Sources { file: Some("/no/such/file.toml".into()), env: Vec::new() }).unwrap_err();
    assert!(missing.to_string().starts_with("/no/such/file.toml: cannot be read: No such file"), "{missing}");
    let broken = problems("[store]\nurl = \"postgres://u:hunter2@db\n", &[]);
    assert!(broken[0].contains(": line 2: ") && !broken[0].contains("hunter2"), "{broken:?}");
}

#[test]
fn debug_shows_no_secret() {
    let text = "store.url = \"postgres://u:hunter2@db/x\"";
    let config = load_text(text, &[("AWS_BEARER_TOKEN_BEDROCK", "hunter2")]).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert!(debug.contains("postgres://u:..@db/x"), "{debug}");
}
