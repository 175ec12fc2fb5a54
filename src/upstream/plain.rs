//! A call that is on no model: its address is made here, encoded once, in the form that is signed.

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::utf8_percent_encode;

use super::endpoint::SEGMENT;

/// A request to a Region, runtime or control plane, for something else than a model's inference.
#[derive(Clone, Debug)]
pub struct PlainCall {
    pub(super) method: Method,
    /// Path and query, encoded; the query sorted as SigV4 wants it.
    pub(super) target: String,
    /// Sent and signed; `content-type` is JSON where it is missing and there is a body.
    pub headers: HeaderMap,
    /// As it goes to AWS; empty: none.
    pub body: Bytes,
}

impl PlainCall {
    /// A request for the path that `segments` make: each is percent-encoded here, `/` and `:` in it included.
    pub fn new<'s>(method: Method, segments: impl IntoIterator<Item = &'s str>) -> Self {
        let mut target = String::new();
        for segment in segments {
            target.push('/');
            target.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Self { method, target, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// With these parameters, which are encoded here; called once.
    #[must_use]
    pub fn query<'q>(mut self, parameters: impl IntoIterator<Item = (&'q str, &'q str)>) -> Self {
        let encoded = |text| utf8_percent_encode(text, SEGMENT).to_string();
        let mut pairs: Vec<_> = parameters.into_iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
        pairs.sort_unstable();
        for (index, (name, value)) in pairs.iter().enumerate() {
            self.target.push(if index == 0 { '?' } else { '&' });
            self.target.push_str(name);
            self.target.push('=');
            self.target.push_str(value);
        }
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_parameters_are_encoded_once_and_sorted() {
        let arn = "arn:aws:bedrock:us-east-1:000000000000:guardrail/abc";
        let call =
            PlainCall::new(Method::GET, ["guardrail", arn, "a b"]).query([("b", "x&y"), ("a", "2"), ("a", "1+")]);
        let path = "/guardrail/arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3Aguardrail%2Fabc/a%20b";
        assert_eq!(call.target, format!("{path}?a=1%2B&a=2&b=x%26y"));
        assert_eq!(PlainCall::new(Method::GET, ["async-invoke"]).query([]).target, "/async-invoke");
    }
}
