//! `/admin/v1`, and the same acts at the command line.

mod audit;
mod batches;
mod budgets;
mod command_line;
mod keys;
mod limits;
mod teams;

use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::Method;
use serde_json::Value;

use crate::support::reply::Reply;
use crate::support::{TEAM, TestGateway};

/// Somebody with an administrator's key.
struct Administrator<'a> {
    t: &'a TestGateway,
    key: String,
    id: String,
}

impl<'a> Administrator<'a> {
    async fn of(t: &'a TestGateway) -> Self {
        let (key, text) = t.make_key(NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "administrator") }).await;
        Self { t, key: text, id: key.id.to_string() }
    }

    /// Somebody with a key that the settings name.
    fn with(t: &'a TestGateway, key: &str) -> Self {
        Self { t, key: key.to_owned(), id: key.split('_').nth(1).unwrap().to_owned() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, if_match: Option<&str>) -> Reply {
        let mut request = self.t.request(method, &format!("/admin/v1{path}")).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        Reply::to(request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body), None).await
    }

    async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, Some(body), None).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, Some(body), None).await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None, None).await
    }

    /// What a list holds of one field, all pages together.
    async fn list(&self, path: &str, field: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let reply = self.get(&format!("{path}{join}limit=2{cursor}")).await;
            assert_eq!(reply.status(), 200, "{reply:?}");
            let page = reply.json();
            found.extend(page["data"].as_array().unwrap().iter().map(|entry| entry[field].clone()));
            let Some(next) = page["next"].as_str() else { return found };
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            cursor = format!("&cursor={next}");
        }
    }
}

/// The field that a refusal blames, and its status.
fn blamed(reply: &Reply) -> (u16, String) {
    (reply.status(), reply.openai_error()["param"].as_str().unwrap_or_default().to_owned())
}
