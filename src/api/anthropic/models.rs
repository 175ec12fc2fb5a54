//! The shape of `GET /v1/models` and `GET /v1/models/{id}`
//! (<https://platform.claude.com/docs/en/api/models-list>).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::models::Named;
use crate::catalog::{Model as Known, Stage};
use crate::error::{Error, Result};

/// Entries of a page, unless the caller says otherwise.
const LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

/// One page of the models that the key may use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AnthropicModelPage)]
pub struct ModelPage {
    /// The models.
    pub data: Vec<Model>,
    /// Whether there are more in the direction that was asked for.
    pub has_more: bool,
    /// What `before_id` takes for the page before.
    pub first_id: Option<String>,
    /// What `after_id` takes for the page after.
    pub last_id: Option<String>,
}

/// One model.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AnthropicModel)]
pub struct Model {
    /// Always `model`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What a request has to name.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// When it became available (RFC 3339); the epoch if not known.
    pub created_at: String,
    /// `active`, `deprecated` or `retired`.
    pub lifecycle: &'static str,
    /// When new customers were or will be shut out.
    pub deprecated_at: Option<String>,
    /// When calls will fail.
    pub retires_at: Option<String>,
    /// Tokens of prompt and answer together; null if not known.
    pub max_input_tokens: Option<u64>,
    /// The most that `max_tokens` may be; null if not known.
    pub max_tokens: Option<u64>,
}

impl Model {
    /// The entry of a model.
    pub(in crate::api) fn of(named: &Named<'_>) -> Self {
        let model = named.model;
        let time = |of: fn(&Known) -> Option<i64>| model.and_then(of).map(rfc3339);
        Self {
            kind: "model",
            id: named.name.to_owned(),
            display_name: model.map_or_else(|| named.name.to_owned(), |model| model.name.clone()),
            created_at: time(|model| model.created).unwrap_or_else(|| rfc3339(0)),
            lifecycle: match model.map(|model| model.lifecycle.stage) {
                None | Some(Stage::Active) => "active",
                Some(Stage::Legacy) => "deprecated",
                Some(Stage::EndOfLife) => "retired",
            },
            deprecated_at: time(|model| model.lifecycle.legacy),
            retires_at: time(|model| model.lifecycle.end),
            max_input_tokens: model.and_then(|model| model.context_window),
            max_tokens: model.and_then(|model| model.max_output_tokens),
        }
    }
}

fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Which page.
#[derive(Default, Deserialize)]
struct Wanted {
    limit: Option<String>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// The page of `models` that the query string asks for.
pub(in crate::api) fn page(models: &[Named<'_>], query: &str) -> Result<ModelPage> {
    let wanted = wanted(query)?;
    let limit = match wanted.limit.as_deref().map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => return Err(Error::invalid("limit", "`limit` has to be a whole number from 1 to 1000.")),
    };
    let place = |field: &'static str, id: &str| {
        let found = models.iter().position(|named| named.name == id);
        found.ok_or_else(|| Error::invalid(field, format!("`{field}` is not the id of a model in this list.")))
    };
    let (start, end, has_more) = match (wanted.after_id.as_deref(), wanted.before_id.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("after_id", "Send `after_id` or `before_id`, not both."));
        }
        (None, Some(before)) => {
            let end = place("before_id", before)?;
            let start = end.saturating_sub(limit);
            (start, end, start > 0)
        }
        (after, None) => {
            let start = after.map_or(Ok(0), |after| place("after_id", after).map(|place| place + 1))?;
            let end = models.len().min(start + limit);
            (start, end, end < models.len())
        }
    };
    let data: Vec<Model> = models[start..end].iter().map(Model::of).collect();
    let id = |model: Option<&Model>| model.map(|model| model.id.clone());
    Ok(ModelPage { has_more, first_id: id(data.first()), last_id: id(data.last()), data })
}

fn wanted(query: &str) -> Result<Wanted> {
    let uri = http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let parsed = uri.ok().and_then(|uri| axum::extract::Query::<Wanted>::try_from_uri(&uri).ok());
    parsed.map(|query| query.0).ok_or_else(|| Error::invalid("query", "The query string cannot be read."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(query: &str) -> (Vec<String>, bool) {
        let names = ["a", "b", "c", "d"];
        let models: Vec<Named<'_>> = names.iter().map(|name| Named { name, model: None }).collect();
        let page = page(&models, query).unwrap();
        assert_eq!(page.first_id.as_ref(), page.data.first().map(|model| &model.id));
        (page.data.into_iter().map(|model| model.id).collect(), page.has_more)
    }

    #[test]
    fn pages_go_both_ways_and_say_whether_there_is_more() {
        assert_eq!(ids(""), (["a", "b", "c", "d"].map(String::from).to_vec(), false));
        assert_eq!(ids("limit=2"), (["a", "b"].map(String::from).to_vec(), true));
        assert_eq!(ids("limit=2&after_id=b"), (["c", "d"].map(String::from).to_vec(), false));
        assert_eq!(ids("limit=2&before_id=d"), (["b", "c"].map(String::from).to_vec(), true));
        assert_eq!(ids("after_id=d"), (Vec::new(), false));
    }

    #[test]
    fn a_page_that_cannot_be_is_refused() {
        for (query, field) in [("limit=0", "limit"), ("limit=x", "limit"), ("after_id=z", "after_id")] {
            assert_eq!(page(&[], query).unwrap_err().blamed(), Some(field), "{query}");
        }
        let both = page(&[Named { name: "a", model: None }], "after_id=a&before_id=a").unwrap_err();
        assert_eq!(both.blamed(), Some("after_id"));
    }
}
