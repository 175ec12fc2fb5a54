//! Where a team may read and write, as its callers name it and as AWS does. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config;
use crate::error::{Error, Result};
use crate::ids::TeamId;

/// What stands for the bucket and the team's prefix in a caller's location.
const OURS: &str = "s3://bedrock-gateway";
/// AWS's limit for an `s3Uri`.
const LONGEST: usize = 1024;

/// The bucket of each Region, and the first part of every key. A cheap clone.
#[derive(Clone, Debug)]
pub struct Places {
    buckets: Arc<BTreeMap<String, String>>,
    prefix: Arc<str>,
}

impl Places {
    pub(super) fn new(batch: &config::Batch) -> Self {
        Self { buckets: Arc::new(batch.bucket.clone()), prefix: batch.prefix.trim_end_matches('/').into() }
    }

    /// Whether anything can be written in a Region.
    pub fn has(&self, region: &str) -> bool {
        self.buckets.contains_key(region)
    }

    /// AWS's name for a caller's location in `region`; `None` without a bucket there. The location has passed
    /// [`Places::check`].
    pub fn outward(&self, team: &TeamId, region: &str, uri: &str) -> Option<String> {
        let path = uri.strip_prefix(OURS)?;
        Some(format!("{}{path}", self.root(team, region)?))
    }

    /// The caller's name for AWS's location; `None` for one that is not the team's.
    pub fn inward(&self, team: &TeamId, region: &str, uri: &str) -> Option<String> {
        let path = uri.strip_prefix(&self.root(team, region)?)?;
        (path.is_empty() || path.starts_with('/')).then(|| format!("{OURS}{path}"))
    }

    fn root(&self, team: &TeamId, region: &str) -> Option<String> {
        Some(format!("s3://{}/{}/{team}", self.buckets.get(region)?, self.prefix))
    }

    /// Refuses a location that is not `s3://bedrock-gateway/<path>`; `field` is to blame.
    pub fn check(&self, team: &TeamId, field: &str, uri: &str) -> Result<()> {
        let path = uri.strip_prefix(OURS).filter(|path| path.is_empty() || path.starts_with('/'));
        let Some(path) = path else {
            let message =
                format!("`{field}` must be {OURS}/ and a path: it stands for your team's part of the bucket.");
            return Err(Error::invalid(field, message));
        };
        let is_plain = |part: &str| part != "." && part != ".." && !part.chars().any(char::is_control);
        let longest = self.buckets.keys().filter_map(|region| self.root(team, region)).map(|root| root.len()).max();
        if !path.split('/').all(is_plain) {
            return Err(Error::invalid(field, format!("`{field}` has `.` or `..` as a part, or control characters.")));
        }
        if longest.unwrap_or_default() + path.len() > LONGEST {
            return Err(Error::invalid(field, format!("`{field}` is too long.")));
        }
        Ok(())
    }
}
