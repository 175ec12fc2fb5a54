//! Cache points: where a caller marks how much of the prompt is worth keeping.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>

use serde_json::Value;

use super::At;
use crate::converse::CachePoint;
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// Hands out cache points, in the order of the prompt (tools, instructions, messages), as far as the model takes them.
#[derive(Debug)]
pub struct CachePoints {
    left: usize,
    between_tools: bool,
    hour: bool,
    /// One that is kept for an hour must not come after one that is kept for five minutes.
    short_given: bool,
}

impl CachePoints {
    /// As many as a model with `traits` takes.
    pub fn new(traits: &Traits) -> Self {
        let caching = traits.caching;
        Self {
            left: caching.map_or(0, |caching| caching.max_points),
            between_tools: caching.is_some_and(|caching| caching.tools),
            hour: caching.is_some_and(|caching| caching.hour),
            short_given: false,
        }
    }

    /// The point that the mark at `at` asks for, after what was marked; `ttl` is `5m`, which is what none means too, or
    /// `1h`.
    pub fn point(&mut self, at: At, ttl: Option<&str>, report: &mut Report) -> Option<CachePoint> {
        if self.left == 0 {
            report.add(Action::Dropped, at);
            return None;
        }
        self.left -= 1;
        let hour = ttl == Some("1h");
        let kept = hour && self.hour && !self.short_given;
        if hour && !kept {
            report.add(Action::Clamped, at.dot("ttl"));
        }
        self.short_given |= !kept;
        Some(CachePoint { kind: "default".to_owned(), ttl: kept.then(|| "1h".to_owned()) })
    }

    /// The same, after a tool.
    pub fn point_after_tool(&mut self, at: At, ttl: Option<&str>, report: &mut Report) -> Option<CachePoint> {
        if !self.between_tools {
            report.add(Action::Dropped, at);
            return None;
        }
        self.point(at, ttl, report)
    }
}

/// Refuses a `prompt_cache_breakpoint` of OpenAI's, at `at`, in another mode than the one there is.
pub fn check_breakpoint(at: At, mode: &str) -> Result<(), Error> {
    if mode == "explicit" {
        return Ok(());
    }
    Err(Error::invalid(at.dot("mode"), "`mode` has to be `explicit`."))
}

/// Whether OpenAI's `prompt_cache_options` ask for more than that what is marked is cached and nothing else, which is how
/// Bedrock does it.
pub fn says_more_than_marks(options: &Value) -> bool {
    let is_mode = |(key, value): (&String, &Value)| value.is_null() || key == "mode" && value == "explicit";
    !options.as_object().is_some_and(|options| options.iter().all(is_mode))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::families::Caching;

    #[test]
    fn points_are_few_the_long_lived_come_first_and_the_rest_is_told() {
        let mut report = Report::default();
        let mut points = CachePoints::new(&Traits::default());
        let ttls = ["1h", "5m", "1h", "5m", "5m"].into_iter().enumerate();
        let given: Vec<_> =
            ttls.map(|(i, ttl)| points.point(At::item("marks", i), Some(ttl), &mut report).map(|p| p.ttl)).collect();
        assert_eq!(given, [Some(Some("1h".to_owned())), Some(None), Some(None), Some(None), None]);
        assert_eq!(report.to_string(), "clamped:marks[2].ttl,dropped:marks[4]");
    }

    #[test]
    fn that_only_marks_count_is_how_it_is_anyway() {
        let says_more = |options| says_more_than_marks(&options);
        assert!(!says_more(json!({})) && !says_more(json!({"mode": "explicit", "ttl": null})));
        assert!(says_more(json!({"mode": "implicit"})) && says_more(json!({"mode": "explicit", "ttl": "30m"})));
        assert!(says_more(json!("explicit")));
    }

    #[test]
    fn a_model_gets_only_the_points_it_takes() {
        let mut report = Report::default();
        let none = Traits { caching: None, ..Traits::default() };
        assert!(CachePoints::new(&none).point(At::field("a"), None, &mut report).is_none());
        let caching = Some(Caching { tools: false, hour: false, max_points: 4 });
        let mut points = CachePoints::new(&Traits { caching, ..Traits::default() });
        assert!(points.point_after_tool(At::field("b"), None, &mut report).is_none());
        assert_eq!(points.point(At::field("c"), Some("1h"), &mut report).unwrap().ttl, None);
        assert_eq!(report.to_string(), "dropped:a,dropped:b,clamped:c.ttl");
    }
}
