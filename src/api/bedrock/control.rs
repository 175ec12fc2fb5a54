//! What the operations of the control plane have in common. They are answered from the gateway's own catalog: what this
//! key may use in the Regions that this gateway calls.

use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::error::{Error, Exception, Kind, Result};

/// The account in every ARN that this gateway shows: whose it really is stays here.
pub(super) const ACCOUNT: &str = "000000000000";
/// The most entries of one page.
const LONGEST_PAGE: usize = 1000;

/// A moment as AWS writes it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub(super) struct Moment(jiff::Timestamp);

impl Moment {
    /// From seconds since the Unix epoch; `None` beyond the end of time.
    pub(super) fn of(seconds: i64) -> Option<Self> {
        jiff::Timestamp::from_second(seconds).ok().map(Self)
    }

    /// The moment, to the millisecond.
    pub(super) fn at(at: Timestamp) -> Self {
        Self(jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default())
    }
}

/// A moment in a query, as AWS reads it.
pub(super) fn moment(member: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| Error::invalid(member, format!("{member} must be a moment such as 2026-01-31T12:00:00Z.")))?;
    Ok(Some(Timestamp::from_millis(at.as_millisecond())))
}

/// Refuses a value that AWS's enumeration does not have.
pub(super) fn check_one_of(member: &str, value: Option<&str>, known: &[&str]) -> Result<()> {
    match value {
        Some(value) if !known.contains(&value) => {
            let shown: String = value.chars().take(64).collect();
            let message = format!("The value `{shown}` of {member} is none of {}.", known.join(", "));
            Err(Error::invalid(member, message))
        }
        _ => Ok(()),
    }
}

/// How many entries a page may have: 1 to 1000, `default` if nothing is said.
pub(super) fn page_size(max_results: Option<&str>, default: usize) -> Result<usize> {
    let Some(text) = max_results else { return Ok(default) };
    let size = text.parse().ok().filter(|size| (1..=LONGEST_PAGE).contains(size));
    size.ok_or_else(|| Error::invalid("maxResults", "maxResults must be a number from 1 to 1000."))
}

/// A token that no page of this gateway ended with.
pub(super) fn bad_token() -> Error {
    Error::invalid("nextToken", "nextToken is none that this gateway gave out.")
}

/// What the identifier names does not exist, or this key may not use it; the two look alike on purpose.
pub(super) fn not_found(what: &str) -> Error {
    let message = format!("The {what} does not exist, or this key may not use it in a Region of this gateway.");
    Error::new(Kind::NotFound, message).exception(Exception { name: "ResourceNotFoundException", status: 404 })
}

/// The ARN of a foundation model in a Region; in no Region of its own, if that is empty.
pub(super) fn model_arn(partition: &str, region: &str, id: &str) -> String {
    format!("arn:{partition}:bedrock:{region}::foundation-model/{id}")
}

/// The partition of a Region.
pub(super) fn partition<'c>(catalog: &'c Catalog, region: &str) -> &'c str {
    catalog.region(region).map_or("aws", |region| &region.partition)
}

/// The id in an identifier that is an id, or an ARN of a resource of this `sort`, with its Region.
pub(super) fn identified<'a>(identifier: &'a str, sort: &str) -> Result<(&'a str, Option<&'a str>)> {
    if !identifier.starts_with("arn:") {
        return Ok((identifier, None));
    }
    let parts: Vec<&str> = identifier.splitn(6, ':').collect();
    if let ["arn", _, "bedrock", region, _, resource] = parts[..]
        && let Some((kind, id)) = resource.split_once('/')
        && kind == sort
    {
        return Ok((id, Some(region)));
    }
    Err(not_found(&sort.replace('-', " ")))
}
