//! AWS's query protocol: a form with numbered lists in, XML out. STS and IAM speak it.

use std::fmt::Write as _;

use url::form_urlencoded;

/// The fields of a form, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body or query string.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether there is a field of this name, or below it.
    pub(crate) fn has(&self, name: &str) -> bool {
        let below = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.0.iter().any(|(key, _)| below(key))
    }

    /// `name.member.1`, `name.member.2`, ... up to the first that is missing.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|number| self.field(&format!("{name}.member.{number}"))).collect()
    }

    /// The pairs `name.member.N.Key` and `name.member.N.Value`; a missing value is `None`.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(&str, Option<&str>)> {
        let member = |number: usize, part: &str| self.field(&format!("{name}.member.{number}.{part}"));
        (1..).map_while(|number| Some((member(number, "Key")?, member(number, "Value")))).collect()
    }
}

/// XML, written element by element.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// A leaf.
    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        let _ = write!(self.0, "<{name}>{}</{name}>", escaped(text));
        self
    }

    /// A leaf with attributes, which begin with a space.
    pub(crate) fn leaf(mut self, name: &str, attributes: &str, text: &str) -> Self {
        let _ = write!(self.0, "<{name}{attributes}>{}</{name}>", escaped(text));
        self
    }

    /// An element around others; `attributes` begin with a space or are empty.
    pub(crate) fn element(mut self, name: &str, attributes: &str, inside: Self) -> Self {
        let _ = write!(self.0, "<{name}{attributes}>{}</{name}>", inside.document());
        self
    }

    /// What comes after.
    pub(crate) fn then(self, other: Self) -> Self {
        Self(self.0 + &other.document())
    }

    /// The document.
    pub(crate) fn document(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    // A bare one would be read as a line break.
    text.replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_lists_are_read_in_order_and_text_is_escaped() {
        let form = Form::parse(
            b"Action=A&Tags.member.1.Key=a%20b&Tags.member.1.Value=%3C&Tags.member.2.Key=c&L.member.1=x&L.member.3=z",
        );
        assert_eq!(form.field("Action"), Some("A"));
        assert_eq!(form.pairs("Tags"), [("a b", Some("<")), ("c", None)]);
        assert_eq!(form.list("L"), ["x"]);
        let xml = Xml::default().element("A", " x=\"1\"", Xml::default().text("B", "<&")).document();
        assert_eq!(xml, "<A x=\"1\"><B>&lt;&amp;</B></A>");
    }
}
