//! `GetObject` and `HeadObject`: conditions, ranges and parts.

use std::ops::Range;

use jiff::Timestamp;
use serde_json::json;

use super::super::errors::Failure;
use super::answer::Answer;
use super::objects::Object;
use super::request::{Ask, OVERRIDES, arn};
use super::{Scene, http_time};

/// What of an object is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Some(Range<u64>),
}

/// Answers `GetObject` or `HeadObject`.
pub(super) fn read(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let request = scene.request;
    let object = scene.simulator.objects().object(&request.bucket, &request.key).ok_or_else(|| missing(scene))?;
    let unchanged = match unmet(scene, &object, "")? {
        Some(Unmet::Failed(failure)) => return Err(failure),
        Some(Unmet::NotModified) => true,
        None => false,
    };
    let etag = format!("\"{}\"", object.etag);
    let usual = |answer: Answer| answer.with("etag", etag.as_str()).with("last-modified", http_time(object.modified));
    if unchanged {
        return Ok(usual(Answer::empty(304)));
    }
    if let Some(key) = &object.attributes.key {
        scene.use_key(key, "kms:Decrypt")?;
    }
    let (wanted, parts) = wanted(scene, &object)?;
    let (status, range) = match &wanted {
        Wanted::All => (200, 0..object.length),
        Wanted::Some(range) => (206, range.clone()),
    };
    let length = range.end - range.start;
    let mut answer = if request.ask == Ask::HeadObject {
        Answer::length(status, length)
    } else {
        Answer::bytes(status, object.read(&range), length)
    };
    answer = usual(answer).with("accept-ranges", "bytes").with_all(object.attributes.told());
    if wanted != Wanted::All {
        let last = range.end.saturating_sub(1);
        answer = answer.with("content-range", format!("bytes {}-{last}/{}", range.start, object.length));
    }
    if let Some(count) = parts {
        answer = answer.with("x-amz-mp-parts-count", count.to_string());
    }
    if scene.text("x-amz-checksum-mode").is_some_and(|mode| mode == "ENABLED") && wanted == Wanted::All {
        answer = answer.with_all(object.attributes.proof());
    }
    let overrides = OVERRIDES.iter().filter_map(|(name, header)| Some((*header, request.query.get(*name)?)));
    Ok(overrides.fold(answer, |answer, (header, value)| answer.with(header, value)))
}

/// What somebody is told of an object that is not there: that, if they may list the bucket.
pub(super) fn missing(scene: &Scene<'_>) -> Failure {
    let bucket = arn(scene.partition(), &scene.request.bucket);
    if scene.require("s3:ListBucket", &bucket).is_err() {
        return Failure::new(403, "AccessDenied", "Access Denied");
    }
    let failure = Failure::new(404, "NoSuchKey", "The specified key does not exist.");
    failure.with(json!({"Key": scene.request.key}).as_object().cloned().map(Box::new))
}

/// Why an object is not answered.
pub(super) enum Unmet {
    NotModified,
    Failed(Failure),
}

/// The condition that an object does not meet; `prefix` is before the headers that tell of the source of a copy.
pub(super) fn unmet(scene: &Scene<'_>, object: &Object, prefix: &str) -> Result<Option<Unmet>, Failure> {
    let text = |name: &str| scene.text(&format!("{prefix}{name}"));
    let date = |name: &str| text(name).and_then(|text| jiff::fmt::rfc2822::parse(&text).ok());
    let modified = Timestamp::from_second(object.modified.as_second()).unwrap_or(object.modified);
    let failed = |name: &str| {
        let failure =
            Failure::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
        Ok(Some(Unmet::Failed(failure.with(json!({"Condition": name}).as_object().cloned().map(Box::new)))))
    };
    match text("if-match") {
        Some(tags) if !names(&tags, &object.etag) => return failed("If-Match"),
        None if date("if-unmodified-since").is_some_and(|since| modified > since.timestamp()) => {
            return failed("If-Unmodified-Since");
        }
        _ => {}
    }
    let unchanged = match text("if-none-match") {
        Some(tags) => names(&tags, &object.etag),
        None => date("if-modified-since").is_some_and(|since| modified <= since.timestamp()),
    };
    match unchanged {
        true if prefix.is_empty() => Ok(Some(Unmet::NotModified)),
        true => failed("If-None-Match"),
        false => Ok(None),
    }
}

/// Whether a list of ETags has this one.
pub(super) fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(|tag| tag.trim().trim_matches('"')).any(|tag| tag == "*" || tag == etag)
}

/// The bytes that a request wants, and the number of parts if it asked by part.
fn wanted(scene: &Scene<'_>, object: &Object) -> Result<(Wanted, Option<usize>), Failure> {
    let range = scene.text("range");
    let Some(number) = scene.request.query.get("partNumber") else {
        return Ok((range.map_or(Ok(Wanted::All), |text| ranged(&text, object.length))?, None));
    };
    if range.is_some() {
        let message = "Cannot specify both Range header and partNumber query parameter";
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    let unsatisfiable = || Failure::new(416, "InvalidPartNumber", "The requested partnumber is not satisfiable");
    let number: usize = number.parse().ok().filter(|number| *number > 0).ok_or_else(unsatisfiable)?;
    if object.parts.is_empty() {
        return if number == 1 { Ok((Wanted::All, None)) } else { Err(unsatisfiable()) };
    }
    let length = object.parts.get(number - 1).ok_or_else(unsatisfiable)?;
    let start: u64 = object.parts[..number - 1].iter().sum();
    Ok((Wanted::Some(start..start + length), Some(object.parts.len())))
}

/// A `Range`; one that cannot be read, or of several, is as if it were not there.
fn ranged(text: &str, length: u64) -> Result<Wanted, Failure> {
    let unsatisfiable = || {
        let failure = Failure::new(416, "InvalidRange", "The requested range is not satisfiable");
        let told = json!({"RangeRequested": text, "ActualObjectSize": length.to_string()});
        failure.with(told.as_object().cloned().map(Box::new))
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Ok(Wanted::All);
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.is_empty() => first..length,
        (Err(_), Ok(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return Ok(Wanted::All),
    };
    if range.start >= range.end { Err(unsatisfiable()) } else { Ok(Wanted::Some(range)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object_or_ignored_or_refused() {
        for (text, expected) in [
            ("bytes=0-3", Wanted::Some(0..4)),
            ("bytes=4-", Wanted::Some(4..10)),
            ("bytes=4-100", Wanted::Some(4..10)),
            ("bytes=-3", Wanted::Some(7..10)),
            ("bytes=-30", Wanted::Some(0..10)),
            ("bytes=3-1", Wanted::All),
            ("bytes=0-1,4-5", Wanted::All),
            ("lines=0-1", Wanted::All),
        ] {
            assert_eq!(ranged(text, 10).unwrap(), expected, "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(ranged(text, 10).unwrap_err().status, 416, "{text}");
        }
        assert_eq!(ranged("bytes=0-0", 0).unwrap_err().name, "InvalidRange");
    }

    #[test]
    fn etags_are_compared_without_their_quotes() {
        assert!(names("\"a\", \"b\"", "b") && names("*", "b") && names("b", "b"));
        assert!(!names("\"a\"", "b"));
    }
}
