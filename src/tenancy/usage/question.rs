//! What can be asked of the usage: by what to add calls up, of which time, and of whom. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::civil;
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{KeyId, TeamId};

/// Milliseconds of a UTC day.
pub(super) const DAY: i64 = 86_400_000;

/// By what calls can be added up, in the order in which rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Dimension {
    /// Who pays.
    Team,
    /// The credential.
    Key,
    /// Bedrock's id of the model.
    Model,
    /// The Region that answered; empty where none did.
    Region,
    /// The UTC day in which a call was settled.
    Day,
    /// The service tier.
    Tier,
    /// `openai`, `anthropic`, `bedrock`, `rerank`.
    Surface,
    /// For example `chat`.
    Operation,
    /// `ok`, `cancelled`, or the kind of its error.
    Outcome,
    /// Whom the caller said that it called for.
    EndUser,
}

impl Dimension {
    /// Reads a list with commas, such as `team,day`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`], `group_by` to blame, with an unknown or repeated name.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        let mut list = Vec::new();
        for name in text.split(',').map(str::trim) {
            let Ok(dimension) = name.parse() else {
                let known: Vec<String> = Self::VARIANTS.iter().map(ToString::to_string).collect();
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let message = format!("`group_by` has no `{shown}`; known are {}.", known.join(", "));
                return Err(Error::invalid("group_by", message));
            };
            if list.contains(&dimension) {
                return Err(Error::invalid("group_by", format!("`group_by` has `{dimension}` twice.")));
            }
            list.push(dimension);
        }
        Ok(list)
    }
}

/// What the calls of a row have in common; empty, or day 0, for what they are not grouped by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// In the order of [`Dimension`], the day left out.
    pub(super) texts: [String; 9],
    /// Since the Unix epoch.
    pub(super) day: i64,
}

/// The dimensions that are text, in their order.
pub(super) const TEXTS: [Dimension; 9] = [
    Dimension::Team,
    Dimension::Key,
    Dimension::Model,
    Dimension::Region,
    Dimension::Tier,
    Dimension::Surface,
    Dimension::Operation,
    Dimension::Outcome,
    Dimension::EndUser,
];

impl Group {
    /// What this dimension is for the group: a day as `2026-01-31`, nothing as `None`.
    pub fn value(&self, dimension: Dimension) -> Option<String> {
        if dimension == Dimension::Day {
            return Some(date(self.day));
        }
        let index = TEXTS.iter().position(|text| *text == dimension)?;
        self.texts.get(index).filter(|text| !text.is_empty()).cloned()
    }

    /// The text that stands for this group in a list by `by`.
    pub fn cursor(&self, by: &[Dimension]) -> String {
        let names: Vec<String> = sorted(by).iter().map(ToString::to_string).collect();
        let cursor = serde_json::json!([names, self.texts, self.day]);
        URL_SAFE_NO_PAD.encode(cursor.to_string())
    }

    /// Reads what [`Group::cursor`] wrote for a list by `by`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`], `cursor` to blame, for anything else.
    pub fn from_cursor(text: &str, by: &[Dimension]) -> Result<Self> {
        let names: Vec<String> = sorted(by).iter().map(ToString::to_string).collect();
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let read = bytes.and_then(|bytes| serde_json::from_slice::<(Vec<String>, [String; 9], i64)>(&bytes).ok());
        match read {
            Some((of, texts, day)) if of == names && !texts.iter().any(|text| text.contains('\0')) => {
                Ok(Self { texts, day })
            }
            _ => Err(Error::invalid("cursor", "`cursor` has to be the `next` of a page of this very list.")),
        }
    }
}

fn sorted(by: &[Dimension]) -> Vec<Dimension> {
    Dimension::VARIANTS.iter().copied().filter(|dimension| by.contains(dimension)).collect()
}

/// Of whose calls; what is not said is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this team.
    pub team: Option<TeamId>,
    /// Of this key.
    pub key: Option<KeyId>,
    /// On the model with this Bedrock id.
    pub model: Option<String>,
    /// Answered by this Region.
    pub region: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By what calls are added up; nothing: all of them in one row.
    pub by: Vec<Dimension>,
    /// Of calls that were settled then or later.
    pub from: Timestamp,
    /// Of calls that were settled before.
    pub until: Timestamp,
    /// Of whose calls.
    pub filter: Filter,
    /// Rows of the page, at least 1.
    pub limit: u32,
    /// The last group of the page before.
    pub after: Option<Group>,
}

/// Which of the days that a question reaches into are kept in sums only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RolledUp {
    /// The day in which it begins, not at midnight.
    pub(super) first: bool,
    /// The day in which it ends, not at midnight.
    pub(super) last: bool,
    /// The latest of all of them.
    pub(super) latest: Option<i64>,
}

impl Question {
    /// The days that it reaches into: the first, and the one after the last.
    pub(super) fn touched_days(&self) -> (i64, i64) {
        (self.from.millis().div_euclid(DAY), (self.until.millis().saturating_add(DAY - 1)).div_euclid(DAY))
    }

    /// The days that it has all of: the first, and the one after the last.
    pub(super) fn whole_days(&self) -> (i64, i64) {
        (self.from.millis().saturating_add(DAY - 1).div_euclid(DAY), self.until.millis().div_euclid(DAY))
    }

    /// Whether sums by day can answer it, where that is all there is.
    pub(super) fn check(&self, rolled: RolledUp) -> Result<()> {
        for (cut, param, at) in [(rolled.first, "from", self.from), (rolled.last, "to", self.until)] {
            if cut {
                let day = date(at.millis().div_euclid(DAY));
                let message = format!(
                    "`{param}` is within {day}, of which only the sum of the whole day is kept: give a date, such as {day}."
                );
                return Err(Error::invalid(param, message));
            }
        }
        match rolled.latest {
            Some(latest) if self.by.contains(&Dimension::EndUser) => {
                let message = format!(
                    "End users are not kept of calls before {0}: group by something else, or begin with from={0}.",
                    date(latest + 1)
                );
                Err(Error::invalid("group_by", message))
            }
            _ => Ok(()),
        }
    }
}

/// A day since the Unix epoch, as `2026-01-31`.
fn date(day: i64) -> String {
    let at = jiff::Timestamp::from_second(day.saturating_mul(DAY / 1000)).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// Reads a moment: RFC 3339, or a date, which is its midnight in UTC. `param` is to blame for anything else.
///
/// # Errors
/// [`crate::error::Kind::Invalid`].
pub fn moment(param: &str, text: &str) -> Result<Timestamp> {
    let wrong = || {
        let message = format!(
            "`{param}` has to be a date such as 2026-01-31, which begins at midnight in UTC, or a time as in RFC 3339, such \
             as 2026-01-31T12:00:00Z."
        );
        Error::invalid(param, message)
    };
    let is_date = text.len() == 10;
    let at = if is_date {
        let date: civil::Date = text.parse().map_err(|_| wrong())?;
        date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?.timestamp()
    } else {
        text.parse::<jiff::Timestamp>().map_err(|_| wrong())?
    };
    Ok(Timestamp::from_millis(at.as_millisecond().max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_in_utc_or_a_time_with_its_offset() {
        assert_eq!(moment("from", "1970-01-02").unwrap().millis(), DAY);
        assert_eq!(moment("from", "1970-01-02T01:00:00+01:00").unwrap().millis(), DAY);
        assert_eq!(moment("from", "1960-01-01").unwrap().millis(), 0, "there was no call before 1970");
        for wrong in ["", "yesterday", "2026-02-30", "1970-01-02T00:00:00", "0", "9".repeat(30).as_str(), "2026-1-1xx"]
        {
            assert_eq!(moment("to", wrong).unwrap_err().blamed(), Some("to"), "{wrong}");
        }
    }

    #[test]
    fn dimensions_are_known_by_name_and_given_once() {
        use Dimension::{Day, EndUser, Team};
        assert_eq!(Dimension::list("team, day,end_user").unwrap(), [Team, Day, EndUser]);
        for wrong in ["", "teams", "team,,day", "team,team"] {
            assert_eq!(Dimension::list(wrong).unwrap_err().blamed(), Some("group_by"), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_is_for_its_own_list() {
        let by = [Dimension::Day, Dimension::Team];
        let group = Group { texts: std::array::from_fn(|n| format!("x{n}")), day: 7 };
        let cursor = group.cursor(&by);
        assert_eq!(Group::from_cursor(&cursor, &[Dimension::Team, Dimension::Day]).unwrap(), group);
        for (text, by) in [(&*cursor, &by[..1]), ("", &by), ("AAAA", &by), ("%", &by)] {
            assert_eq!(Group::from_cursor(text, by).unwrap_err().blamed(), Some("cursor"));
        }
    }
}
