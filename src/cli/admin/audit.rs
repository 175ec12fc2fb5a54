//! `audit`: who administered what, and when.

use clap::Args;

use super::Listing;
use crate::cli::{Failure, warn};
use crate::tenancy::admin::{self, Acts, Page, moment};

/// List administrative acts, the newest first.
#[derive(Debug, Args)]
pub(in crate::cli) struct Audit {
    /// By `command_line`, gateway, or key: or bootstrap: and a key's id.
    #[arg(long)]
    actor: Option<String>,
    /// Of this kind, such as key.revoke.
    #[arg(long)]
    action: Option<String>,
    /// On the team, key, limit or budget with this id.
    #[arg(long)]
    subject: Option<String>,
    /// At this moment or later, as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Before this moment, as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Acts at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(Page::MAX)))]
    limit: u32,
    /// Where to go on: `next` of the list before.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    common: Listing,
}

impl Audit {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let Self { actor, action, subject, from, to, limit, cursor, common } = self;
        let read = |name: &str, text: Option<String>| text.map(|text| moment::read(name, &text)).transpose();
        let which = Acts { actor, action, subject, from: read("--from", from)?, to: read("--to", to)? };
        let page = Page { after: cursor, limit };
        let listed = admin::list_acts(&common.store().await?, &which, &page).await?;
        common.table(&listed, &["at", "actor", "action", "subject", "detail"])?;
        if let Some(next) = listed.next.filter(|_| !common.json) {
            warn(&format!("there are older ones: --cursor {next}"));
        }
        Ok(())
    }
}
