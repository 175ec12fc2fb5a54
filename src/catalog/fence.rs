//! How far a caller's text may travel: the Regions that a team, a key or an alias is limited to.
//!
//! A fence judges where a call really goes: the Region it is sent to, and every Region that the inference profile may
//! send it on to. What is not known to stay inside is outside.

use std::fmt;
use std::sync::Arc;

use strum::{EnumString, IntoStaticStr, VariantNames};

use super::{Destinations, Place};
use crate::error::{Error, Result};

/// The Regions that a call may touch. A clone is cheap; the default fences nothing in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence(Arc<[Rule]>);

/// One limit; a Region has to satisfy all of a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Among(Arc<[Box<str>]>),
    Within(Geography),
}

/// A part of the world, as the Regions' codes and the prefixes of inference profiles name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Geography {
    /// The commercial Regions of the United States.
    Us,
    /// Every `eu-` Region: also London and Zurich, which are not in the Union.
    Eu,
    /// Every `ap-` Region.
    Apac,
    /// Tokyo and Osaka.
    Jp,
    /// Sydney and Melbourne.
    Au,
    /// Mumbai and Hyderabad.
    In,
    /// Canada.
    Ca,
    /// Brazil.
    Sa,
    /// Mexico.
    Mx,
    /// The Middle East, without Israel.
    Me,
    /// Israel.
    Il,
    /// Africa.
    Af,
    /// AWS GovCloud (US).
    UsGov,
}

impl Geography {
    /// The names that a setting may have.
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// Reads a name such as `eu`.
    ///
    /// # Errors
    /// `Invalid` with `field` to blame, and the names there are.
    pub fn parse(field: &str, name: &str) -> Result<Self> {
        name.parse().map_err(|_| {
            let shown: String = name.chars().take(32).collect();
            let known = Self::VARIANTS.join(", ");
            Error::invalid(field, format!("`{shown}` is no geography; known are {known}."))
        })
    }

    /// Its name, such as `eu`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the Region is in it.
    pub fn holds(self, region: &str) -> bool {
        match self {
            Self::Us => region.starts_with("us-") && !region.starts_with("us-gov-") && !region.starts_with("us-iso"),
            Self::Eu => region.starts_with("eu-"),
            Self::Apac => region.starts_with("ap-"),
            Self::Jp => matches!(region, "ap-northeast-1" | "ap-northeast-3"),
            Self::Au => matches!(region, "ap-southeast-2" | "ap-southeast-4"),
            Self::In => matches!(region, "ap-south-1" | "ap-south-2"),
            Self::Ca => region.starts_with("ca-"),
            Self::Sa => region.starts_with("sa-"),
            Self::Mx => region.starts_with("mx-"),
            Self::Me => region.starts_with("me-"),
            Self::Il => region.starts_with("il-"),
            Self::Af => region.starts_with("af-"),
            Self::UsGov => region.starts_with("us-gov-"),
        }
    }
}

impl Fence {
    /// A fence around these Regions, if a list is given, and within the geography, if one is.
    pub fn new(regions: Option<&[String]>, geography: Option<Geography>) -> Self {
        let among = regions.map(|regions| Rule::Among(regions.iter().map(|region| region.as_str().into()).collect()));
        Self(among.into_iter().chain(geography.map(Rule::Within)).collect())
    }

    /// Inside both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self.is_open(), other.is_open()) {
            (_, true) => self.clone(),
            (true, _) => other.clone(),
            _ => Self(self.0.iter().chain(&*other.0).cloned().collect()),
        }
    }

    /// Whether nothing is fenced in.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the Region is inside.
    pub fn holds(&self, region: &str) -> bool {
        self.0.iter().all(|rule| match rule {
            Rule::Among(regions) => regions.iter().any(|allowed| **allowed == *region),
            Rule::Within(geography) => geography.holds(region),
        })
    }

    /// Whether a call to `place` stays inside, wherever it is sent on to.
    pub fn permits(&self, place: &Place) -> bool {
        self.permits_route(&place.region, &place.destinations)
    }

    /// Whether a call that is sent to `region` and on to `destinations` stays inside.
    pub fn permits_route(&self, region: &str, destinations: &Destinations) -> bool {
        self.is_open() || (self.holds(region) && self.leaves(destinations).is_none())
    }

    /// The way out that `destinations` have, if they have one.
    pub(super) fn leaves<'a>(&self, destinations: &'a Destinations) -> Option<Exit<'a>> {
        match destinations {
            _ if self.is_open() => None,
            Destinations::Among(regions) => {
                regions.iter().find(|region| !self.holds(region)).map(|region| Exit::To(region))
            }
            Destinations::Anywhere => Some(Exit::Anywhere),
            Destinations::Unknown => Some(Exit::Unknown),
        }
    }
}

/// How a call may leave a fence.
pub(super) enum Exit<'a> {
    To(&'a str),
    Anywhere,
    Unknown,
}

impl fmt::Display for Exit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(region) => write!(f, "may be sent on to {region}"),
            Self::Anywhere => f.write_str("may be sent on to any Region"),
            Self::Unknown => f.write_str("may be sent on to Regions that are not known"),
        }
    }
}

/// What the fence allows, for a message: `us-east-1, us-west-2 within us`.
impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" within ")?;
            }
            match rule {
                Rule::Among(regions) => f.write_str(&super::listed(regions.iter().map(|region| &**region)))?,
                Rule::Within(geography) => write!(f, "the geography `{}`", geography.name())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(regions: &[&str]) -> Fence {
        let regions: Vec<String> = regions.iter().map(|region| (*region).to_owned()).collect();
        Fence::new(Some(&regions), None)
    }

    #[test]
    fn a_region_has_to_be_inside_every_rule() {
        let europe = Fence::new(None, Some(Geography::Eu));
        let both = among(&["eu-west-1", "us-east-1"]).and(&europe);
        assert!(both.holds("eu-west-1") && !both.holds("us-east-1") && !both.holds("eu-west-3"));
        assert!(Fence::default().holds("us-east-1") && Fence::default().and(&Fence::default()).is_open());
        assert_eq!(both.to_string(), "eu-west-1, us-east-1 within the geography `eu`");
        assert!(!among(&[]).holds("us-east-1"));
    }

    #[test]
    fn govcloud_is_not_in_the_geography_of_the_united_states() {
        assert!(Geography::Us.holds("us-east-1") && Geography::UsGov.holds("us-gov-west-1"));
        assert!(!Geography::Us.holds("us-gov-west-1") && !Geography::Us.holds("us-isob-east-1"));
        assert!(Geography::Apac.holds("ap-northeast-1") && !Geography::Jp.holds("ap-northeast-2"));
    }

    #[test]
    fn a_wrong_geography_is_told_with_the_right_ones() {
        assert_eq!(Geography::parse("geography", "us-gov").unwrap(), Geography::UsGov);
        let error = Geography::parse("geography", "europe").unwrap_err();
        assert!(
            error.message().starts_with("`europe` is no geography")
                && error.message().contains("us-gov")
                && error.blamed() == Some("geography"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_known_to_stay_inside_is_outside() {
        let fence = among(&["eu-west-1"]);
        let to = |regions: &[&str]| Destinations::Among(regions.iter().map(|region| Arc::from(*region)).collect());
        assert!(fence.leaves(&to(&["eu-west-1"])).is_none());
        assert!(matches!(fence.leaves(&to(&["eu-west-1", "eu-west-3"])), Some(Exit::To("eu-west-3"))));
        assert!(fence.leaves(&Destinations::Anywhere).is_some() && fence.leaves(&Destinations::Unknown).is_some());
        assert!(Fence::default().leaves(&Destinations::Unknown).is_none());
    }
}
