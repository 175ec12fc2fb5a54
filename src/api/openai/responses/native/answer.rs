//! What becomes of an answer: it is kept, and says so.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::state::{Keeping, came_off};
use super::super::translate::owner;
use super::input;
use crate::error::{Error, Result};
use crate::ids::TeamId;
use crate::responses::{Kept, Responses};
use crate::splice::{Edits, Members, quoted};

/// What a response has to say of its state, which is the gateway's and not Bedrock's.
#[derive(Debug)]
pub(super) struct State {
    /// Whether it is kept.
    pub(super) store: bool,
    /// What it goes on from.
    pub(super) previous: Option<String>,
}

impl State {
    /// Whether Bedrock, which was told to store nothing and to go on from nothing, says the same.
    pub(super) fn is_as_bedrock_says(&self) -> bool {
        !self.store && self.previous.is_none()
    }

    /// The response with its state put right; `None` when it is right as it is, or no response.
    pub(super) fn put_right(&self, response: &[u8]) -> Option<Bytes> {
        let members = Members::read(response).ok()?;
        let mut edits = Edits::new(response);
        self.edit(&members, &mut edits);
        (!edits.is_empty()).then(|| edits.apply())
    }

    /// The event with the state of its response put right; `None` when it is right as it is, or has none.
    pub(super) fn put_right_event(&self, event: &[u8]) -> Option<Bytes> {
        let members = Members::read(event).ok()?;
        let response = members.value("response")?;
        let right = self.put_right(response.get().as_bytes())?;
        let mut edits = Edits::new(event);
        edits.replace(response, str::from_utf8(&right).ok()?);
        Some(edits.apply())
    }

    /// Makes `edits` of the response with these members say the state.
    pub(super) fn edit(&self, members: &Members<'_>, edits: &mut Edits<'_>) {
        let previous = self.previous.as_deref().map_or("null".to_owned(), quoted);
        for (key, right) in [("store", self.store.to_string()), ("previous_response_id", previous)] {
            match members.value(key) {
                Some(value) if value.get() == right => {}
                Some(value) => edits.replace(value, right),
                None if right == "null" => {}
                None => edits.add(key, &right),
            }
        }
    }
}

/// Whether a response is one to go on from. One that failed is not.
pub(super) fn ended_well(response: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Ended {
        status: String,
    }
    let ended = serde_json::from_slice::<Ended>(response);
    ended.is_ok_and(|ended| matches!(ended.status.as_str(), "completed" | "incomplete"))
}

/// Keeps one response, once it is there.
pub(super) struct Keeper {
    pub(super) responses: Responses,
    pub(super) team: TeamId,
    pub(super) previous: Option<String>,
    /// The model, by the name the request gave.
    pub(super) model: String,
    /// What the request added to the conversation.
    pub(super) input: Vec<input::Kept>,
}

impl Keeper {
    /// Keeps `response`, a whole one, and says whether that came off.
    pub(super) fn keep(self, response: &[u8]) -> Keeping<bool> {
        let responses = self.responses.clone();
        let written = self.write(response);
        Box::pin(async move {
            let (kept, items) = match written {
                Ok(written) => written,
                Err(error) => return came_off(Err(error), ""),
            };
            came_off(responses.save(&kept, &items).await, &kept.id)
        })
    }

    /// The row of `response`, and the ids of those of its items that do not lead to it.
    fn write(self, response: &[u8]) -> Result<(Kept, Vec<String>)> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            id: String,
            #[serde(borrow)]
            output: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Item {
            id: Option<String>,
        }
        let Answer { id, output } = serde_json::from_slice(response).map_err(Error::internal)?;
        let items: Vec<Item> = serde_json::from_str(output.get()).map_err(Error::internal)?;
        let items = items.into_iter().filter_map(|item| item.id);
        let items = items.filter(|item| owner(item).as_deref() != Some(&id)).collect();
        let mut input = String::with_capacity(64);
        for (position, item) in self.input.iter().enumerate() {
            input.push(if position == 0 { '[' } else { ',' });
            item.write(&id, position, &mut input);
        }
        input.push_str(if input.is_empty() { "[]" } else { "]" });

        let members = Members::read(response).map_err(Error::internal)?;
        let mut edits = Edits::new(response);
        State { store: true, previous: self.previous.clone() }.edit(&members, &mut edits);
        edits.replace(output, "[]");
        let response = String::from_utf8(edits.apply().into()).map_err(Error::internal)?;
        let output = output.get().to_owned();
        let Self { team, previous, model, .. } = self;
        Ok((Kept { id, team, previous, model, input, output, response }, items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(state: &State, response: &str) -> Option<String> {
        state.put_right(response.as_bytes()).map(|right| String::from_utf8(right.to_vec()).unwrap())
    }

    #[test]
    fn only_what_would_mislead_is_changed() {
        let first = State { store: true, previous: None };
        let text = r#"{ "id":"r", "store" : false,"n":1.0e0,"previous_response_id":null }"#;
        let told = r#"{ "id":"r", "store" : true,"n":1.0e0,"previous_response_id":null }"#;
        assert_eq!(right(&first, text).as_deref(), Some(told));
        assert_eq!(right(&first, told), None);
        let second = State { store: false, previous: Some("resp_1".to_owned()) };
        let told = r#"{ "id":"r", "store" : false,"n":1.0e0,"previous_response_id":"resp_1" }"#;
        assert_eq!(right(&second, text).as_deref(), Some(told));
        assert_eq!(
            right(&second, r#"{"id":"r"}"#).unwrap(),
            r#"{"id":"r","store":false,"previous_response_id":"resp_1"}"#
        );
        assert_eq!(right(&second, "[]"), None);
        let event = format!(r#"{{"sequence_number":0, "response":{text}}}"#);
        let event = second.put_right_event(event.as_bytes()).unwrap();
        assert_eq!(event, format!(r#"{{"sequence_number":0, "response":{told}}}"#));
        assert_eq!(second.put_right_event(br#"{"delta":"\"response\""}"#), None);
    }

    #[test]
    fn only_what_ended_well_is_to_be_gone_on_from() {
        for (status, expected) in [("completed", true), ("incomplete", true), ("failed", false), ("in_progress", false)]
        {
            assert_eq!(ended_well(format!(r#"{{"status":"{status}"}}"#).as_bytes()), expected, "{status}");
        }
        assert!(!ended_well(b"{}"));
    }
}
