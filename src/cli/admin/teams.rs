//! `teams create|list|show|update|rotate-webhook|revoke`.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Listing, Named, edit, ending, pair};
use crate::catalog::Catalog;
use crate::cli::{Failure, warn};
use crate::clock::Clock;
use crate::error::Error;
use crate::tenancy::admin::view::TeamView;
use crate::tenancy::admin::{self, Actor, Edit, EditTeam, Precondition, known};
use crate::tenancy::{Guardrail, NewSecret, NewTeam, Team};

/// What `teams update --clear` may name.
const CLEARABLE: [&str; 8] =
    ["models", "regions", "geography", "role-arn", "guardrail", "request-metadata", "profiles", "webhook-url"];

/// Make, list, change and revoke teams.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Teams {
    /// Make a team.
    Create(CreateTeam),
    /// List all teams.
    List(Listing),
    /// Show all settings of a team.
    Show {
        /// Its id or name.
        team: String,
        #[command(flatten)]
        common: Listing,
    },
    /// Change a team; what is not named stays. It counts within seconds.
    Update(UpdateTeam),
    /// Give a team's webhook another secret, and show it, this once.
    RotateWebhook {
        /// Its id or name.
        team: String,
        /// For how long messages are signed with the secret before as well, such as 1h.
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        overlap: String,
        #[command(flatten)]
        common: Listing,
    },
    /// Revoke a team: all its keys are refused, until `teams update --restore`.
    Revoke {
        /// Its id or name.
        team: String,
        #[command(flatten)]
        common: Listing,
    },
}

/// The settings of a team.
#[derive(Debug, Args)]
struct Settings {
    /// Models it may use, `*` at the end of a name as a wildcard; without it, every model.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Regions it may use; without it, every Region.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// A geography that its calls may not leave, such as eu or us-gov.
    #[arg(long)]
    geography: Option<String>,
    /// An AWS role to assume for its calls, by ARN; without it, they are made with the gateway's own identity.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// A guardrail that every call on a model carries, by id or ARN.
    #[arg(long, value_name = "ID", requires = "guardrail_version")]
    guardrail: Option<String>,
    /// The guardrail's version: a number or DRAFT.
    #[arg(long, value_name = "VERSION", requires = "guardrail")]
    guardrail_version: Option<String>,
    /// What every call tells AWS's invocation log; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    request_metadata: Vec<(String, String)>,
    /// An application inference profile that a model is called through; may be given several times.
    #[arg(long = "profile", value_name = "MODEL=ARN", value_parser = pair)]
    profiles: Vec<(String, String)>,
    /// What becomes of calls whose price is not known, where a budget would have to pay: refuse or `allow_unpriced`.
    #[arg(long, value_name = "POLICY")]
    unknown_price: Option<String>,
    /// Where messages about its batches go, over https; the secret that they are signed with is shown once.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateTeam {
    /// The team's name.
    name: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    common: Listing,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateTeam {
    /// Its id or name.
    team: String,
    /// A new name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Settings that are to be as if they had never been named.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(CLEARABLE))]
    clear: Vec<String>,
    /// Let its keys be used again, if it was revoked.
    #[arg(long)]
    restore: bool,
    #[command(flatten)]
    common: Listing,
}

impl Settings {
    fn named(&self) -> Named<'_> {
        let models = self.models.iter().flatten().map(String::as_str);
        Named {
            models: models.chain(self.profiles.iter().map(|(model, _)| model.as_str())).collect(),
            regions: self.regions.as_deref().unwrap_or_default(),
            role_arn: self.role_arn.as_deref(),
        }
    }

    fn guardrail(&self) -> Option<Guardrail> {
        let (id, version) = self.guardrail.clone().zip(self.guardrail_version.clone())?;
        Some(Guardrail { id, version })
    }
}

/// A team that may just have got the secret of its webhook.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: TeamView,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<&'a str>,
}

/// Shows a team, and the secret if it became its webhook's.
fn show(common: &Listing, team: &Team, secret: Option<&NewSecret>, text: &str) -> Result<(), Failure> {
    let webhook_secret = secret.and_then(|secret| secret.shown_for(team));
    let secret = webhook_secret.map(|secret| format!("\nThe secret of its webhook, shown this once: {secret}"));
    let text = format!("{text}{}", secret.unwrap_or_default());
    common.show(&Shown { view: TeamView::of(team), webhook_secret }, &text)
}

fn check_profiles(catalog: &Catalog, profiles: &BTreeMap<String, String>) -> Result<(), Error> {
    known::check_profiles(catalog, "--profile", profiles)
}

/// The pairs by name; of two with the same name the last.
fn by_name(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

impl Teams {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Create(arguments) => arguments.run(&clock).await,
            Self::List(listing) => {
                let teams = admin::list_teams(&listing.store().await?).await?;
                let listed = admin::Listed { data: teams.iter().map(TeamView::of).collect(), next: None };
                let columns = ["id", "name", "models", "regions", "geography", "role_arn", "created_at", "revoked_at"];
                listing.table(&listed, &columns)
            }
            Self::Show { team, common } => {
                common.detail(&TeamView::of(&admin::find_team(&common.store().await?, &team).await?))
            }
            Self::Update(arguments) => arguments.run(&clock).await,
            Self::RotateWebhook { team, overlap, common } => {
                let now = clock.now();
                let overlap = ending("--overlap", &overlap, now)?.since(now);
                let secret = common.secret()?;
                let which = (&*team, &Precondition::Any);
                let store = common.store().await?;
                let team = admin::rotate_webhook(&store, &clock, Actor::CommandLine, which, (&secret, overlap)).await?;
                let text = format!("The webhook of team {} ({}) has another secret.", team.name, team.id);
                show(&common, &team, Some(&secret), &text)
            }
            Self::Revoke { team, common } => {
                let store = common.store().await?;
                let which = (&*team, &Precondition::Any);
                let team = admin::revoke_team_if(&store, &clock, Actor::CommandLine, which).await?;
                common.show(&TeamView::of(&team), &format!("Revoked team {} ({}).", team.name, team.id))
            }
        }
    }
}

impl CreateTeam {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { name, settings, common } = self;
        let (store, catalog) = common.store_for(&settings.named()).await?;
        let profiles = by_name(&settings.profiles);
        check_profiles(&catalog, &profiles)?;
        let guardrail = settings.guardrail();
        let webhook = settings.webhook_url.map(|url| common.webhook(url)).transpose()?;
        let new = NewTeam {
            webhook: webhook.clone(),
            name,
            guardrail,
            request_metadata: by_name(&settings.request_metadata),
            profiles,
            models: settings.models,
            regions: settings.regions,
            geography: settings.geography,
            role_arn: settings.role_arn,
            unknown_price: settings.unknown_price,
        };
        let team = admin::create_team(&store, clock, Actor::CommandLine, new).await?;
        let text = format!("Made team {} ({}).", team.name, team.id);
        show(&common, &team, webhook.as_ref().map(|new| &new.secret), &text)
    }
}

impl UpdateTeam {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { team, name, settings, clear, restore, common } = self;
        let (store, catalog) = common.store_for(&settings.named()).await?;
        let some = |pairs: &[(String, String)]| Some(by_name(pairs)).filter(|pairs| !pairs.is_empty());
        let profiles = some(&settings.profiles);
        check_profiles(&catalog, profiles.as_ref().unwrap_or(&BTreeMap::new()))?;
        let guardrail = settings.guardrail();
        let webhook = settings.webhook_url.map(|url| common.webhook(url)).transpose()?;
        let edit_team = EditTeam {
            webhook: edit(webhook.clone(), "webhook-url", &clear)?,
            name: name.map_or(Edit::Keep, Edit::Set),
            guardrail: edit(guardrail, "guardrail", &clear)?,
            request_metadata: edit(some(&settings.request_metadata), "request-metadata", &clear)?,
            profiles: edit(profiles, "profiles", &clear)?,
            models: edit(settings.models, "models", &clear)?,
            regions: edit(settings.regions, "regions", &clear)?,
            geography: edit(settings.geography, "geography", &clear)?,
            role_arn: edit(settings.role_arn, "role-arn", &clear)?,
            unknown_price: settings.unknown_price.map_or(Edit::Keep, Edit::Set),
            revoked: if restore { Edit::Set(false) } else { Edit::Keep },
        };
        if edit_team == EditTeam::default() {
            warn(&"nothing is to be changed");
        }
        let which = (&*team, &Precondition::Any);
        let team = admin::change_team(&store, clock, Actor::CommandLine, which, edit_team).await?;
        let text = format!("Team {} ({}) is set as asked.", team.name, team.id);
        show(&common, &team, webhook.as_ref().map(|new| &new.secret), &text)
    }
}
