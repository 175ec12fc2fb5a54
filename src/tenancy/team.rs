//! Teams: who pays.

use super::allow_list::AllowList;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::TeamId;

/// A team, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its name, unique among teams.
    pub name: String,
    /// The models that its keys may use at most.
    pub models: AllowList,
    /// The Regions that its calls may go to.
    pub regions: AllowList,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What it takes to make a team.
#[derive(Clone, Debug, Default)]
pub struct NewTeam {
    /// 1 to 64 printable characters, unique among teams.
    pub name: String,
    /// Allowed models; `None`: every model.
    pub models: Option<Vec<String>>,
    /// Allowed Regions; `None`: every Region.
    pub regions: Option<Vec<String>>,
}

impl NewTeam {
    /// A team that may use every model in every Region.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The team, or which field keeps it from being one.
    pub(super) fn check(self, id: TeamId, now: Timestamp) -> Result<Team> {
        check_name(&self.name)?;
        Ok(Team {
            id,
            name: self.name,
            models: AllowList::models("models", self.models)?,
            regions: AllowList::regions("regions", self.regions)?,
            created_at: now,
        })
    }
}

/// Names of teams and keys: shown in tables, logs and metric labels, so nothing invisible and nothing long.
pub(super) fn check_name(name: &str) -> Result<()> {
    let length = name.chars().count();
    let visible = !name.chars().any(|c| c.is_control() || is_invisible(c));
    if (1..=64).contains(&length) && visible && name.trim() == name {
        return Ok(());
    }
    Err(Error::invalid("name", "`name` must be 1 to 64 printable characters, without blanks at its ends."))
}

/// Characters that change how the rest reads without showing themselves: zero-width and bidirectional marks, line
/// separators, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_visible() {
        for good in ["a", "Data & Analytics", "équipe 7", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ", " a", "a\n", "a\u{0}b", "a\u{202e}b", &"x".repeat(65)] {
            assert_eq!(check_name(bad).unwrap_err().blamed(), Some("name"), "{bad:?}");
        }
    }
}
