//! `limits set|list|remove`.

use clap::{Args, Subcommand};

use super::{Listing, Named, Subject, all};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::ids::LimitId;
use crate::tenancy::admin::{self, Actor, Precondition, SetLimit};

/// Set, list and remove limits.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Limits {
    /// Set the limit of a team, a key, or everyone on a model. It replaces the one that was set before as a whole.
    Set(Set),
    /// List the limits that count.
    List {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        common: Listing,
    },
    /// Remove a limit.
    Remove {
        /// The limit's id.
        id: String,
        #[command(flatten)]
        common: Listing,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    subject: Subject,
    /// The model it is about, or the beginning of names and `*`; without it, every model.
    #[arg(long)]
    model: Option<String>,
    /// Calls that may begin in a minute.
    #[arg(long, value_name = "CALLS")]
    requests_per_minute: Option<u64>,
    /// Tokens read and written in a minute.
    #[arg(long, value_name = "TOKENS")]
    tokens_per_minute: Option<u64>,
    /// Calls that may be open at the same time.
    #[arg(long, value_name = "CALLS")]
    concurrent_requests: Option<u32>,
    #[command(flatten)]
    common: Listing,
}

impl Limits {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Set(arguments) => arguments.run(&clock).await,
            Self::List { subject, common } => {
                let store = common.store().await?;
                let which = admin::Limits { whose: subject.into(), model: None };
                let listed = all(async |page| admin::list_limits(&store, &which, &page).await).await?;
                let amounts = ["requests_per_minute", "tokens_per_minute", "concurrent_requests"];
                common.table(&listed, &[&["id", "team_name", "key", "model"][..], &amounts].concat())
            }
            Self::Remove { id, common } => {
                let store = common.store().await?;
                let which = (&LimitId::from(&id), &Precondition::Any);
                let limit = admin::remove_limit(&store, &clock, Actor::CommandLine, which).await?;
                common.show(&limit, &format!("Removed limit {id}."))
            }
        }
    }
}

impl Set {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let named = Named { models: self.model.as_deref().into_iter().collect(), ..Named::default() };
        let (store, _) = self.common.store_for(&named).await?;
        let set = SetLimit {
            whose: self.subject.into(),
            model: self.model,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
        };
        let limit = admin::set_limit(&store, clock, Actor::CommandLine, &Precondition::Any, set).await?;
        self.common.show(&limit, &format!("Limit {} is set as asked.", limit.id))
    }
}
