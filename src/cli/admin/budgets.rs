//! `budgets set|list|remove`.

use clap::{Args, Subcommand};

use super::{Listing, Subject, all};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::ids::BudgetId;
use crate::tenancy::admin::{self, Actor, Precondition, SetBudget};

/// Set, list and remove budgets.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Budgets {
    /// Set the budget of a team or a key for a period. It replaces the one that was set before; what was spent stays spent.
    Set(Set),
    /// List the budgets that count.
    List {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        common: Listing,
    },
    /// Remove a budget.
    Remove {
        /// The budget's id.
        id: String,
        #[command(flatten)]
        common: Listing,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    subject: Subject,
    /// How long it lasts before it begins anew, in UTC: day, week, month or total.
    #[arg(long)]
    period: String,
    /// US dollars that may be spent in that time, such as 12.50.
    #[arg(long, value_name = "USD", allow_hyphen_values = true)]
    limit_usd: String,
    #[command(flatten)]
    common: Listing,
}

impl Budgets {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Set(Set { subject, period, limit_usd, common }) => {
                let store = common.store().await?;
                let set = SetBudget { whose: subject.into(), period, limit_usd };
                let budget = admin::set_budget(&store, &clock, Actor::CommandLine, &Precondition::Any, set).await?;
                common.show(&budget, &format!("Budget {} is set as asked.", budget.id))
            }
            Self::List { subject, common } => {
                let store = common.store().await?;
                let which = admin::Budgets { whose: subject.into(), period: None };
                let now = clock.now();
                let listed = all(async |page| admin::list_budgets(&store, now, &which, &page).await).await?;
                common.table(
                    &listed,
                    &["id", "team_name", "key", "period", "limit_usd", "spent_usd", "remaining_usd", "ends_at"],
                )
            }
            Self::Remove { id, common } => {
                let store = common.store().await?;
                let which = (&BudgetId::from(&id), &Precondition::Any);
                let budget = admin::remove_budget(&store, &clock, Actor::CommandLine, which).await?;
                common.show(&budget, &format!("Removed budget {id}."))
            }
        }
    }
}
