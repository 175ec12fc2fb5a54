//! What calls used and cost, as it is told: to administrators, to a team's own key, at the command line.

use std::process::Command;
use std::time::Duration;

use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, MODEL_ID, TEAM, TestGateway};

/// Two teams, three keys and an administrator's; four calls.
struct Told {
    t: TestGateway,
    admin: String,
    other: String,
}

impl Told {
    async fn start() -> Self {
        let t = TestGateway::start().await;
        t.make_team(NewTeam::new("=others")).await;
        let (_, admin) = t.make_key(NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "boss") }).await;
        let (_, other) = t.make_key(NewKey::new("=others", "theirs")).await;
        for text in ["one", "two [[words:40]]"] {
            assert_eq!(t.openai().chat(text).await.status(), 200);
        }
        assert_eq!(t.bedrock().model("nova-lite").converse("three").await.status(), 200);
        t.clock.advance(Duration::from_hours(24));
        assert_eq!(t.openai().with_key(&other).chat("four").await.status(), 200);
        Self { t, admin, other }
    }

    async fn get(&self, key: &str, path: &str) -> Reply {
        Reply::to(self.t.request(Method::GET, path).bearer_auth(key)).await
    }

    async fn usage(&self, query: &str) -> Value {
        let reply = self.get(&self.admin, &format!("/admin/v1/usage?{query}")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.json()
    }
}

#[tokio::test]
async fn the_usage_is_what_the_ledger_has_by_whatever_it_is_grouped() {
    let told = Told::start().await;
    let ledger = told.t.ledger().await;
    let total = told.usage("").await;
    let cost: i64 = ledger.iter().map(|entry| entry.cost.unwrap().0).sum();
    assert_eq!(
        total,
        json!({"data": [{
            "requests": 4,
            "input_tokens": ledger.iter().map(|entry| entry.input_tokens).sum::<u64>(),
            "output_tokens": ledger.iter().map(|entry| entry.output_tokens).sum::<u64>(),
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "cost_usd": format!("0.{cost:06}"),
            "unpriced_requests": 0,
        }], "next": null})
    );
    let by_model = told.usage("group_by=team,model&team=testers").await;
    let rows: Vec<_> =
        by_model["data"].as_array().unwrap().iter().map(|row| (&row["model"], &row["requests"])).collect();
    assert_eq!(rows, [(&json!("amazon.nova-lite-v1:0"), &json!(1)), (&json!(MODEL_ID), &json!(2))]);
    assert_eq!(by_model["data"][0]["team_name"], TEAM);
    let fields: Vec<&String> = by_model["data"][0].as_object().unwrap().keys().collect();
    assert_eq!(fields[..4], ["team", "team_name", "model", "requests"], "only what it is grouped by");

    assert_eq!(told.usage(&format!("model={MODEL}&region={FIRST}")).await["data"][0]["requests"], 3);
    let days = told.usage("group_by=day").await;
    assert_eq!(days["data"].as_array().unwrap().len(), 2);
    let second = days["data"][1]["day"].as_str().unwrap().to_owned();
    assert_eq!(told.usage(&format!("from={second}")).await["data"][0]["requests"], 1);
    assert_eq!(told.usage(&format!("to={second}T00:00:00Z")).await["data"][0]["requests"], 3);

    let first = told.usage("group_by=key,surface&limit=1").await;
    let next = first["next"].as_str().unwrap();
    let rest = told.usage(&format!("group_by=key,surface&cursor={next}")).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    told.t.finish().await;
}

#[tokio::test]
async fn a_table_for_programs_has_a_line_of_names_and_no_formula() {
    let told = Told::start().await;
    let reply = told.get(&told.admin, "/admin/v1/usage?group_by=team&format=csv").await;
    assert_eq!((reply.status(), reply.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    let lines: Vec<&str> = reply.text().split_terminator("\r\n").collect();
    assert_eq!(
        lines[0],
        "team,team_name,requests,input_tokens,output_tokens,cache_read_tokens,cache_write_tokens,cost_usd,\
         unpriced_requests"
    );
    assert!(lines[1].contains(",testers,3,"), "{lines:?}");
    assert!(lines[2].contains(",'=others,1,"), "{lines:?}");
    let page = told.get(&told.admin, "/admin/v1/usage?group_by=team&format=csv&limit=1").await;
    assert_eq!(page.text(), format!("{}\r\n{}\r\n", lines[0], lines[1]));
    let next = page.header("x-gateway-next");
    let page = told.get(&told.admin, &format!("/admin/v1/usage?group_by=team&format=csv&limit=1&cursor={next}")).await;
    assert_eq!((page.text(), page.header("x-gateway-next")), (&*format!("{}\r\n{}\r\n", lines[0], lines[2]), ""));
    told.t.finish().await;
}

#[tokio::test]
async fn a_key_sees_its_own_team_whatever_it_asks_for() {
    let told = Told::start().await;
    for (key, calls) in [(told.t.key(), 3), (&*told.other, 1), (&*told.admin, 3)] {
        let reply = told.get(key, "/v1/usage?group_by=team").await;
        let rows = reply.json()["data"].as_array().unwrap().clone();
        assert_eq!((rows.len(), &rows[0]["requests"]), (1, &json!(calls)), "{reply:?}");
        for team in ["=others", TEAM, "nobody"] {
            let reply = told.get(key, &format!("/v1/usage?team={}", team.replace('=', "%3D"))).await;
            let is_own = (team == TEAM) == (calls == 3) && team != "nobody";
            assert_eq!(reply.status(), if is_own { 200 } else { 403 }, "{reply:?}");
            if !is_own {
                assert_eq!(reply.openai_error()["param"], "team");
            }
        }
    }
    // Another team's key and model are no way in.
    let id = told.other.split('_').nth(1).unwrap();
    let reply = told.get(told.t.key(), &format!("/v1/usage?key={id}")).await;
    assert_eq!(reply.json()["data"][0]["requests"], 0);
    assert_eq!(told.get(told.t.key(), "/admin/v1/usage").await.status(), 403);
    assert_eq!(told.get(&told.other, "/admin/v1/usage?team=testers").await.status(), 403);
    told.t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_its_name() {
    let told = Told::start().await;
    for (query, status, param) in [
        ("group_by=teem", 400, "group_by"),
        ("from=yesterday", 400, "from"),
        ("to=2026-02-30", 400, "to"),
        ("team=nobody", 404, "team"),
        ("format=xml", 400, "format"),
        ("cursor=x", 400, "cursor"),
        ("limit=-1", 400, "limit"),
        ("since=2026-01-01", 400, "since"),
    ] {
        let reply = told.get(&told.admin, &format!("/admin/v1/usage?{query}")).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (status, &json!(param)), "{query}");
    }
    told.t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_command_line_tells_the_same_as_a_table_as_json_and_as_csv() {
    let told = Told::start().await;
    told.t.ledger().await;
    let file = told.t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", told.t.config.store.url)).unwrap();
    let usage = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let output = command.arg("usage").args(arguments).arg("--config").arg(&file).env_clear().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (_, json, _) = usage(&["--group-by", "team,day", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, told.usage("group_by=team,day").await);
    let (_, csv, _) = usage(&["--team", TEAM, "--csv"]);
    assert_eq!(csv, told.get(&told.admin, "/admin/v1/usage?group_by=team&team=testers&format=csv").await.text());
    let (_, table, _) = usage(&["--group-by", "team,model", "--model", MODEL]);
    assert!(table.contains("cost_usd") && table.contains("testers") && !table.contains("nova"), "{table}");
    assert!(!table.contains("team_"), "names are enough for a person: {table}");
    for (arguments, told) in [
        (["--group-by", "teem"], "error: --group-by: "),
        (["--from", "soon"], "error: --from: "),
        (["--team", "nobody"], "error: --team: "),
        (["--region", "mars"], "error: --region: "),
    ] {
        let (success, _, stderr) = usage(&arguments);
        assert!(!success && stderr.starts_with(told), "{stderr}");
    }
    told.t.finish().await;
}
