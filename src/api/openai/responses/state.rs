//! The conversation that a request goes on from, and what is kept for the next one.
//!
//! The store has JSON text. What a request adds is kept as it was understood: references replaced by what they refer
//! to, every item with an id. What it goes on from is read back into the same items that a client could have sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::translate::{item_id, owner};
use super::wire::{Item, Part, Response, Role};
use crate::api::conversation::At;
use crate::api::openai::wire::TextOrList;
use crate::error::{Error, Kind, Result};
use crate::ids::TeamId;
use crate::responses::{Kept, Responses, Turn};

/// How many different responses the references of one request may point to.
const MAX_REFERRED: usize = 100;

/// The items that `input` is, each with its place.
pub(super) fn items(input: Option<TextOrList<Item>>) -> Vec<(At, Item)> {
    match input {
        None => Vec::new(),
        Some(TextOrList::Text(text)) => {
            let item = Item { role: Some(Role::User), content: Some(TextOrList::Text(text)), ..Item::default() };
            vec![(At::field("input"), item)]
        }
        Some(TextOrList::List(items)) => {
            items.into_iter().enumerate().map(|(i, item)| (At::item("input", i), item)).collect()
        }
    }
}

/// Replaces references among `items` by what they refer to: items that `team` stored.
pub(super) async fn resolve(items: &mut [(At, Item)], responses: &Responses, team: &TeamId) -> Result<()> {
    let mut references = References::new(responses, team);
    for (at, item) in items.iter_mut().filter(|(_, item)| is_reference(item)) {
        let text = references.find(*at, item.id.as_deref()).await?;
        *item = serde_json::from_str(text.get()).map_err(unreadable)?;
    }
    Ok(())
}

/// Finds what references refer to: items that a team stored.
pub(super) struct References<'a> {
    responses: &'a Responses,
    team: &'a TeamId,
    /// The items of the responses looked at, by their ids.
    loaded: HashMap<String, HashMap<String, Box<RawValue>>>,
    /// Whose the items are that do not say it themselves.
    owners: HashMap<String, String>,
}

impl<'a> References<'a> {
    /// Among what `team` stored.
    pub(super) fn new(responses: &'a Responses, team: &'a TeamId) -> Self {
        Self { responses, team, loaded: HashMap::new(), owners: HashMap::new() }
    }

    /// The item with this id, for the reference at `at`.
    pub(super) async fn find(&mut self, at: At, id: Option<&str>) -> Result<&RawValue> {
        let path = at.dot("id");
        let id = id.ok_or_else(|| Error::invalid(path, "A reference needs the id of an item."))?;
        let not_found = || Error::invalid(path, format!("Item with id '{id}' not found."));
        let mut response = owner(id);
        let is_there = match &response {
            Some(response) => self.load(path, response).await?.contains_key(id),
            None => false,
        };
        if !is_there {
            response = self.owner(id).await?;
        }
        let response = response.ok_or_else(not_found)?;
        self.load(path, &response).await?.get(id).map(|item| &**item).ok_or_else(not_found)
    }

    /// Whose item this is, where the id does not tell.
    async fn owner(&mut self, id: &str) -> Result<Option<String>> {
        if let Some(known) = self.owners.get(id) {
            return Ok(Some(known.clone()));
        }
        let found = self.responses.owner(self.team, id).await?;
        if let Some(found) = &found {
            self.owners.insert(id.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// The items of a response; none, if there is no such response.
    async fn load(&mut self, path: At, response: &str) -> Result<&HashMap<String, Box<RawValue>>> {
        if self.loaded.len() >= MAX_REFERRED && !self.loaded.contains_key(response) {
            let message = format!("The references of a request may point to {MAX_REFERRED} responses at most.");
            return Err(Error::invalid(path, message));
        }
        Ok(match self.loaded.entry(response.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let kept = self.responses.find(self.team, response).await?;
                entry.insert(kept.map(|kept| by_id(&kept)).transpose()?.unwrap_or_default())
            }
        })
    }
}

/// A reference need not say its type.
pub(super) fn is_reference(item: &Item) -> bool {
    match item.kind.as_deref() {
        Some(kind) => kind == "item_reference",
        None => item.role.is_none() && item.content.is_none() && item.id.is_some(),
    }
}

fn by_id(kept: &Kept) -> Result<HashMap<String, Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let mut items = HashMap::new();
    for list in [&kept.input, &kept.output] {
        for item in serde_json::from_str::<Vec<Box<RawValue>>>(list).map_err(unreadable)? {
            let id: Id = serde_json::from_str(item.get()).map_err(unreadable)?;
            items.insert(id.id, item);
        }
    }
    Ok(items)
}

/// The items of the conversation that ends with the response `previous`.
pub(super) async fn history(responses: &Responses, team: &TeamId, previous: &str) -> Result<Vec<(At, Item)>> {
    let mut items = Vec::new();
    for Turn { input, output, .. } in responses.history(team, previous).await? {
        for list in [input, output] {
            let list: Vec<Item> = serde_json::from_str(&list).map_err(unreadable)?;
            items.extend(list.into_iter().map(|item| (At::field("previous_response_id"), item)));
        }
    }
    Ok(items)
}

pub(super) fn unreadable(cause: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "A stored response could not be read.").source(cause)
}

/// Keeps one response, once it is there.
pub(super) struct Keeper {
    responses: Responses,
    team: TeamId,
    previous: Option<String>,
    input: String,
}

impl Keeper {
    /// For the response `id`, which adds `items` to the conversation that ends with `previous`. Each item gets an id,
    /// and its texts the form in which they are listed.
    pub(super) fn new(
        responses: &Responses,
        team: &TeamId,
        previous: Option<String>,
        (id, items): (&str, &mut [(At, Item)]),
    ) -> Result<Self> {
        for (position, (_, item)) in items.iter_mut().enumerate() {
            if item.id.is_none() {
                item.id = Some(input_id(item.kind.as_deref(), id, position));
            }
            if item.role.is_some() {
                item.kind.get_or_insert_with(|| "message".to_owned());
                item.status.get_or_insert_with(|| "completed".to_owned());
            }
            if let Some(TextOrList::Text(text)) = &mut item.content {
                let kind = if item.role == Some(Role::Assistant) { "output_text" } else { "input_text" };
                let text = std::mem::take(text);
                let part = Part { kind: kind.to_owned(), text: Some(text), ..Part::default() };
                item.content = Some(TextOrList::List(vec![part]));
            }
        }
        let items: Vec<&Item> = items.iter().map(|(_, item)| item).collect();
        let input = serde_json::to_string(&items).map_err(Error::internal)?;
        Ok(Self { responses: responses.clone(), team: team.clone(), previous, input })
    }

    /// Keeps `response` as it is now. Whether that came off is for [`settle`].
    pub(super) fn keep(self, response: &mut Response) -> Keeping {
        let items = std::mem::take(&mut response.output);
        let texts = serde_json::to_string(&items).and_then(|output| Ok((output, serde_json::to_string(response)?)));
        response.output = items;
        let (id, model) = (response.id.clone(), response.model.clone());
        Box::pin(async move {
            let (output, response) = texts.map_err(Error::internal)?;
            let Self { responses, team, previous, input } = self;
            responses.save(&Kept { id, team, previous, model, input, output, response }, &[]).await
        })
    }
}

/// A response on its way into the store.
pub(super) type Keeping<T = Result<()>> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Says in `response` whether it was kept. An answer that the model gave is not taken back because the store is away.
pub(super) fn settle(response: &mut Response, kept: Result<()>) {
    if !came_off(kept, &response.id) {
        response.store = false;
    }
}

/// Whether the response `id` was kept. Why not, is for the log.
pub(super) fn came_off(kept: Result<()>, id: &str) -> bool {
    let Err(error) = kept else { return true };
    tracing::warn!(%error, causes = error.causes(), id, "a response could not be kept");
    false
}

/// The id of an input item of this kind, at `position` of the response `id`: apart from those of what goes out.
pub(super) fn input_id(kind: Option<&str>, id: &str, position: usize) -> String {
    let prefix = match kind {
        Some("function_call") => "fc_",
        Some("function_call_output") => "fco_",
        Some("custom_tool_call") => "ctc_",
        Some("custom_tool_call_output") => "ctco_",
        Some("reasoning") => "rs_",
        _ => "msg_",
    };
    format!("{}i", item_id(prefix, id, position))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::openai::responses::{translate, wire};
    use crate::clock::Clock;
    use crate::config;
    use crate::families::Traits;
    use crate::report::Report;
    use crate::store::testing;

    const ID: &str = "resp_0123456789abcdef0123456789abcdef";

    fn input(value: Value) -> Vec<(At, Item)> {
        items(serde_json::from_value(value).unwrap())
    }

    fn answered() -> Response {
        let wire = wire::parse(br#"{"model":"m","input":"x"}"#).unwrap();
        let (items, provider) = (input(json!("x")), String::new());
        let asked = translate::Asked {
            wire,
            items,
            report: Report::default(),
            id: ID.into(),
            created: 0,
            store: true,
            provider,
        };
        translate::request(asked, &Traits::default()).unwrap().context.response
    }

    #[tokio::test]
    async fn an_answer_is_given_although_the_store_is_away_and_says_that_it_was_not_kept() {
        let store = testing::sqlite().await;
        let responses = Responses::new((*store).clone(), Clock::system(), &config::Responses::default(), 1000);
        let keeper = || Keeper::new(&responses, &"team".into(), None, (ID, &mut input(json!("x")))).unwrap();
        let mut response = answered();
        let kept = keeper().keep(&mut response).await;
        settle(&mut response, kept);
        assert!(response.store);
        assert_eq!(history(&responses, &"team".into(), ID).await.unwrap().len(), 1);

        store.close().await;
        let kept = keeper().keep(&mut response).await;
        settle(&mut response, kept);
        assert!(!response.store);
    }

    #[tokio::test]
    async fn what_is_kept_has_ids_and_the_form_of_a_list() {
        let store = testing::sqlite().await;
        let responses = Responses::new((*store).clone(), Clock::system(), &config::Responses::default(), 1000);
        let mut items = input(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "id": "msg_mine"},
            {"type": "function_call_output", "call_id": "c", "output": "d"},
        ]));
        let keeper = Keeper::new(&responses, &"team".into(), None, (ID, &mut items)).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&keeper.input).unwrap(),
            json!([
                {"type": "message", "id": "msg_0123456789abcdef0123456789abcdef0000i", "status": "completed",
                 "role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {"type": "message", "id": "msg_mine", "status": "completed",
                 "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
                {"type": "function_call_output", "id": "fco_0123456789abcdef0123456789abcdef0002i",
                 "call_id": "c", "output": "d"},
            ])
        );
    }
}
