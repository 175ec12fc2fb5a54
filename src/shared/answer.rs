//! What a script answered: whole numbers and texts, read one after the other.

use redis::{RedisError, Value};

use crate::error::{Error, Result};

/// The answer of a script, a flat list, read from the front.
#[derive(Debug)]
pub struct Answer(std::vec::IntoIter<Value>);

impl Answer {
    pub(super) fn new(value: Value) -> Self {
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        Self(values.into_iter())
    }

    /// The next element, a whole number.
    pub fn number(&mut self) -> Result<i64> {
        match self.0.next() {
            Some(Value::Int(number)) => Ok(number),
            other => Err(unexpected(other.as_ref(), "a number")),
        }
    }

    /// The next element, a text.
    pub fn text(&mut self) -> Result<String> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes).map_err(Error::internal),
            Some(Value::SimpleString(text) | Value::VerbatimString { text, .. }) => Ok(text),
            Some(Value::Okay) => Ok("OK".to_owned()),
            other => Err(unexpected(other.as_ref(), "a text")),
        }
    }

    /// How many elements are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

/// An error that came as a value.
pub(super) fn checked(value: Value) -> Result<Value, RedisError> {
    value.extract_error()
}

fn unexpected(value: Option<&Value>, wanted: &str) -> Error {
    let kind = match value {
        None => "nothing",
        Some(Value::Int(_)) => "a number",
        Some(Value::Nil) => "nil",
        Some(_) => "something else",
    };
    Error::internal(format!("the shared store answered {kind} where {wanted} was expected"))
}
