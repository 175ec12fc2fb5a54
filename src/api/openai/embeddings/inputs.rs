//! From the field `input` to what a model can make vectors of, pure; a fault is named by its index.

use super::wire::{self, Item};
use crate::error::{Error, Result};
use crate::families::embedding::{Embedding, Input, Picture};

/// The most inputs of one request, as at OpenAI.
const MOST: usize = 2048;

const TOKENS: &str = "Bedrock's models take text, not tokens: send the text. (For LangChain's OpenAIEmbeddings that is \
                      check_embedding_ctx_length=False.)";

/// The inputs, in their order; at least one.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The inputs.
    pub(super) list: Vec<Input>,
    is_list: bool,
}

impl Inputs {
    /// Where in the request the input of this index is.
    pub(super) fn path(&self, index: usize) -> String {
        path(self.is_list, index)
    }
}

fn path(is_list: bool, index: usize) -> String {
    if is_list { format!("input[{index}]") } else { "input".to_owned() }
}

/// Reads the field.
pub(super) fn read(inputs: wire::Inputs) -> Result<Inputs> {
    let (items, is_list) = match inputs {
        wire::Inputs::One(text) => (vec![Item::Text(text)], false),
        wire::Inputs::Many(items) => (items, true),
    };
    if items.is_empty() {
        return Err(Error::invalid("input", "`input` is empty: there is nothing to make a vector of."));
    }
    if items.len() > MOST {
        return Err(Error::invalid("input", format!("`input` takes at most {MOST} texts in one request.")));
    }
    let one = |(index, item): (usize, Item)| input(item, || path(is_list, index));
    let list = items.into_iter().enumerate().map(one).collect::<Result<Vec<Input>>>()?;
    Ok(Inputs { list, is_list })
}

fn input(item: Item, path: impl Fn() -> String) -> Result<Input> {
    let (text, image) = match item {
        Item::Text(text) => (Some(text), None),
        Item::Parts(parts) => (parts.text, parts.image),
        Item::Tokens => return Err(Error::unsupported("input", TOKENS)),
    };
    if text.as_ref().is_some_and(String::is_empty) {
        return Err(Error::invalid(path(), "The text is empty: there is nothing to make a vector of."));
    }
    let Some(image) = image else {
        return text.map(Input::Text).ok_or_else(|| Error::invalid(path(), "There is neither text nor image."));
    };
    let Some(picture) = Picture::parse(image) else {
        let message = "An image has to be a data URL in base64: data:image/png;base64,...";
        return Err(Error::invalid(format!("{}.image", path()), message));
    };
    Ok(match text {
        Some(text) => Input::Both(text, picture),
        None => Input::Image(picture),
    })
}

/// Whether the model takes all of them.
pub(super) fn fit(family: Embedding, inputs: &Inputs) -> Result<()> {
    for (index, input) in inputs.list.iter().enumerate() {
        family.takes(input).map_err(|why| Error::unsupported(inputs.path(index), why))?;
    }
    Ok(())
}
