//! Where in the caller's request a piece stands. Every piece has such a place and few are ever told: so it is a few
//! words on the stack, and text only when somebody reads it.

use std::borrow::Cow;
use std::fmt;

/// How deep a path goes; what is deeper is told by its ancestor.
const DEPTH: usize = 4;

/// A path in the caller's request, such as `messages[2].tool_calls[0].id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At([Step; DEPTH]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Field(&'static str),
    Item(&'static str, usize),
}

impl At {
    /// The field `name` of the request itself; it may have dots in it.
    pub const fn field(name: &'static str) -> Self {
        Self([Step::Field(name), Step::Nothing, Step::Nothing, Step::Nothing])
    }

    /// Item `index` of the request's `list`.
    pub const fn item(list: &'static str, index: usize) -> Self {
        Self([Step::Item(list, index), Step::Nothing, Step::Nothing, Step::Nothing])
    }

    /// The field `name` of what stands here; it may have dots in it.
    #[must_use]
    pub fn dot(self, name: &'static str) -> Self {
        self.then(Step::Field(name))
    }

    /// Item `index` of the `list` of what stands here.
    #[must_use]
    pub fn at(self, list: &'static str, index: usize) -> Self {
        self.then(Step::Item(list, index))
    }

    /// What holds what stands here; the request's own field when nothing else does.
    #[must_use]
    pub fn parent(mut self) -> Self {
        let last = self.0.iter_mut().skip(1).rfind(|step| **step != Step::Nothing);
        if let Some(last) = last {
            *last = Step::Nothing;
        }
        self
    }

    /// Whether both stand in the same item of the request's list: in the same message.
    pub fn is_beside(self, other: Self) -> bool {
        self.0[0] == other.0[0]
    }

    fn then(mut self, step: Step) -> Self {
        if let Some(free) = self.0.iter_mut().find(|step| **step == Step::Nothing) {
            *free = step;
        }
        self
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            let dot = if depth == 0 { "" } else { "." };
            match step {
                Step::Nothing => break,
                Step::Field(name) => write!(f, "{dot}{name}")?,
                Step::Item(list, index) => write!(f, "{dot}{list}[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<At> for String {
    fn from(at: At) -> Self {
        at.to_string()
    }
}

impl From<At> for Cow<'static, str> {
    fn from(at: At) -> Self {
        Self::Owned(at.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_the_caller_would_write_it_and_ends_where_room_does() {
        let call = At::item("messages", 2).at("tool_calls", 0);
        assert_eq!(call.dot("function.name").to_string(), "messages[2].tool_calls[0].function.name");
        assert_eq!(At::field("tool_choice").dot("name").to_string(), "tool_choice.name");
        let deep = call.at("a", 1).at("b", 2).at("c", 3);
        assert_eq!(deep.to_string(), "messages[2].tool_calls[0].a[1].b[2]");
        assert!(call.is_beside(At::item("messages", 2)) && !call.is_beside(At::item("messages", 1)));
    }
}
