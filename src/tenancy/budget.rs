//! Budgets: how much may be spent, and in which span of time. What is spent of them is `admission`'s to know.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};

use super::limit::Subject;
use crate::clock::Timestamp;
use crate::ids::BudgetId;
use crate::money::MicroUsd;

/// A budget, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// Whose calls it pays for: a team's or a key's.
    pub subject: Subject,
    /// How long it lasts.
    pub period: Period,
    /// What may be spent in that time.
    pub limit: MicroUsd,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Since when it counts no more.
    pub removed_at: Option<Timestamp>,
    /// The version of tenancy that its last change made.
    pub version: i64,
}

/// How long a budget lasts before it begins anew. In UTC.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first to the last of a month.
    Month,
    /// For good.
    Total,
}

/// A span of time: from its start up to, and without, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub start: Timestamp,
    /// The first moment after it; `None`: it never ends.
    pub end: Option<Timestamp>,
}

impl Window {
    /// Whether it is over at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| end <= now)
    }
}

impl Period {
    /// The window that `now` is in.
    pub fn window(self, now: Timestamp) -> Window {
        let for_good = Window { start: Timestamp::default(), end: None };
        let Ok(moment) = jiff::Timestamp::from_millisecond(now.millis()) else { return for_good };
        let day = moment.to_zoned(TimeZone::UTC).date();
        let (first, length) = match self {
            Self::Total => return for_good,
            Self::Day => (day, 1.day()),
            Self::Week => {
                let since_monday = day.weekday().since(Weekday::Monday);
                (day.saturating_sub(i64::from(since_monday).days()), 1.week())
            }
            Self::Month => (day.first_of_month(), 1.month()),
        };
        let millis = |start: Result<Zoned, jiff::Error>| start.ok().map(|start| start.timestamp().as_millisecond());
        let start = millis(first.to_zoned(TimeZone::UTC)).unwrap_or_default();
        let end = millis(first.saturating_add(length).to_zoned(TimeZone::UTC));
        Window { start: Timestamp::from_millis(start), end: end.map(Timestamp::from_millis) }
    }
}

/// What becomes of a call whose price is not known, where a budget would have to pay for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UnknownPrice {
    /// It is refused.
    #[default]
    Refuse,
    /// It is let through, counted, and costs the budget nothing.
    AllowUnpriced,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn windows_begin_at_midnight_on_monday_and_on_the_first() {
        let now = at("2026-11-25T13:30:00.5Z"); // a Wednesday
        let window = |period: Period, now| {
            let window = period.window(now);
            (window.start, window.end)
        };
        assert_eq!(window(Period::Day, now), (at("2026-11-25T00:00:00Z"), Some(at("2026-11-26T00:00:00Z"))));
        assert_eq!(window(Period::Week, now), (at("2026-11-23T00:00:00Z"), Some(at("2026-11-30T00:00:00Z"))));
        assert_eq!(window(Period::Month, now), (at("2026-11-01T00:00:00Z"), Some(at("2026-12-01T00:00:00Z"))));
        assert_eq!(window(Period::Total, now), (Timestamp::default(), None));
    }

    #[test]
    fn a_windows_end_is_the_next_ones_start() {
        for start in
            ["2026-12-31T23:59:59.999Z", "2028-02-29T00:00:00Z", "2026-01-01T00:00:00Z", "2027-05-31T12:00:00Z"]
        {
            for period in [Period::Day, Period::Week, Period::Month] {
                let window = period.window(at(start));
                let end = window.end.unwrap();
                assert!(window.start <= at(start) && at(start) < end && !window.is_over(at(start)));
                assert_eq!(period.window(end).start, end, "{period} of {start}");
                assert!(window.is_over(end));
            }
        }
    }
}
