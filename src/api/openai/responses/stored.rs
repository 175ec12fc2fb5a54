//! What can be done with a response that is kept: look at it, list its input, delete it. Another team's response does
//! not exist.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde_json::{Map, Value};

use super::super::error::ErrorBody;
use super::wire::{Deleted, ItemList, Response};
use crate::api::caller::Segment;
use crate::error::{Error, Kind, Result};
use crate::gateway::Gateway;
use crate::responses::Kept;
use crate::tenancy::{Caller, Scope};

/// The parameters behind the question mark.
type Parameters = Result<Query<HashMap<String, String>>, QueryRejection>;

/// Look a response up
///
/// As it was answered. Its events cannot be told again: `stream` has to be absent or false.
#[utoipa::path(
    get,
    path = "/v1/responses/{response_id}",
    operation_id = "retrieve_response",
    tag = "OpenAI",
    params(("response_id" = String, Path, description = "`resp_...`")),
    responses((status = 200, description = "The response.", body = Response), (status = "4XX", description = "Refused, or not kept.", body = ErrorBody)),
    security(("key" = ["inference"]))
)]
pub(super) async fn retrieve(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(id): Segment,
    parameters: Parameters,
) -> Result<Json<Map<String, Value>>> {
    if read(parameters)?.get("stream").is_some_and(|stream| stream != "false") {
        return Err(Error::unsupported("stream", "The events of a response are told once: leave `stream` out."));
    }
    let kept = find(&gateway, &caller, &id).await?;
    let mut response: Map<String, Value> = serde_json::from_str(&kept.response).map_err(Error::internal)?;
    response.insert("output".to_owned(), serde_json::from_str(&kept.output).map_err(Error::internal)?);
    Ok(Json(response))
}

/// Delete a response
///
/// A conversation that goes over it cannot be gone on from any more.
#[utoipa::path(
    delete,
    path = "/v1/responses/{response_id}",
    operation_id = "delete_response",
    tag = "OpenAI",
    params(("response_id" = String, Path, description = "`resp_...`")),
    responses((status = 200, description = "It is gone.", body = Deleted), (status = "4XX", description = "Refused, or not kept.", body = ErrorBody)),
    security(("key" = ["inference"]))
)]
pub(super) async fn delete(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Deleted>> {
    caller.require(Scope::Inference)?;
    if !gateway.responses().delete(&caller.team.id, &id).await? {
        return Err(not_found(&id));
    }
    Ok(Json(Deleted { id, object: "response", deleted: true }))
}

/// List the input of a response
///
/// The items that its request added, each with an id; those of the responses before it are listed with these.
#[utoipa::path(
    get,
    path = "/v1/responses/{response_id}/input_items",
    operation_id = "list_response_input_items",
    tag = "OpenAI",
    params(
        ("response_id" = String, Path, description = "`resp_...`"),
        ("order" = Option<String>, Query, description = "`asc`, or `desc` (the default): the last item first."),
        ("limit" = Option<u32>, Query, description = "1 to 100; default 20."),
        ("after" = Option<String>, Query, description = "The id of the item before the page."),
    ),
    responses((status = 200, description = "A page of items.", body = ItemList), (status = "4XX", description = "Refused, or not kept.", body = ErrorBody)),
    security(("key" = ["inference"]))
)]
pub(super) async fn input_items(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(id): Segment,
    parameters: Parameters,
) -> Result<Json<ItemList>> {
    let page = Page::read(&read(parameters)?)?;
    let kept = find(&gateway, &caller, &id).await?;
    let items: Vec<Value> = serde_json::from_str(&kept.input).map_err(Error::internal)?;
    Ok(Json(page.of(items)?))
}

/// Cancel a response
///
/// Only a response that is made in the background could be, and there are none.
#[utoipa::path(
    post,
    path = "/v1/responses/{response_id}/cancel",
    operation_id = "cancel_response",
    tag = "OpenAI",
    params(("response_id" = String, Path, description = "`resp_...`")),
    responses((status = "4XX", description = "Always.", body = ErrorBody)),
    security(("key" = ["inference"]))
)]
pub(super) async fn cancel(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Value>> {
    find(&gateway, &caller, &id).await?;
    Err(Error::new(Kind::Invalid, "Only a response that is made in the background can be cancelled."))
}

async fn find(gateway: &Gateway, caller: &Caller, id: &str) -> Result<Kept> {
    caller.require(Scope::Inference)?;
    gateway.responses().find(&caller.team.id, id).await?.ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("Response with id '{id}' not found."))
}

fn read(parameters: Parameters) -> Result<HashMap<String, String>> {
    match parameters {
        Ok(Query(parameters)) => Ok(parameters),
        Err(_) => Err(Error::new(Kind::Invalid, "What follows the question mark in the URL cannot be read.")),
    }
}

/// Which items are listed.
#[derive(Debug)]
struct Page {
    order: Order,
    limit: usize,
    after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Ascending,
    Descending,
}

impl Page {
    fn read(parameters: &HashMap<String, String>) -> Result<Self> {
        let order = match parameters.get("order").map(String::as_str) {
            None | Some("desc") => Order::Descending,
            Some("asc") => Order::Ascending,
            Some(_) => return Err(Error::invalid("order", "`order` has to be `asc` or `desc`.")),
        };
        let limit = match parameters.get("limit") {
            None => 20,
            Some(limit) => {
                let limit = limit.parse().ok().filter(|limit| (1..=100).contains(limit));
                limit.ok_or_else(|| Error::invalid("limit", "`limit` has to be a number from 1 to 100."))?
            }
        };
        Ok(Self { order, limit, after: parameters.get("after").cloned() })
    }

    fn of(&self, mut items: Vec<Value>) -> Result<ItemList> {
        if self.order == Order::Descending {
            items.reverse();
        }
        let start = match &self.after {
            None => 0,
            Some(after) => {
                let position = items.iter().position(|item| item["id"] == **after);
                position.ok_or_else(|| Error::invalid("after", "There is no item with this id."))? + 1
            }
        };
        let has_more = items.len() > start + self.limit;
        let data: Vec<Value> = items.into_iter().skip(start).take(self.limit).collect();
        let id = |item: Option<&Value>| item.and_then(|item| item["id"].as_str()).map(str::to_owned);
        Ok(ItemList { object: "list", first_id: id(data.first()), last_id: id(data.last()), data, has_more })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(parameters: &[(&str, &str)]) -> Result<Value> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let items = ["a", "b", "c"].map(|id| json!({ "id": id })).to_vec();
        let list = Page::read(&parameters)?.of(items)?;
        let ids: String = list.data.iter().map(|item| item["id"].as_str().unwrap()).collect();
        Ok(json!([ids, list.first_id, list.last_id, list.has_more]))
    }

    #[test]
    fn a_page_is_cut_from_either_end() {
        assert_eq!(page(&[]).unwrap(), json!(["cba", "c", "a", false]));
        assert_eq!(page(&[("order", "asc"), ("limit", "2")]).unwrap(), json!(["ab", "a", "b", true]));
        assert_eq!(page(&[("limit", "1"), ("after", "c")]).unwrap(), json!(["b", "b", "b", true]));
        assert_eq!(page(&[("after", "a")]).unwrap(), json!(["", null, null, false]));
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (name, value) in [("order", "up"), ("limit", "0"), ("limit", "101"), ("limit", "x"), ("after", "z")] {
            assert_eq!(page(&[(name, value)]).unwrap_err().blamed(), Some(name));
        }
    }
}
