//! `keys create|list|show|update|rotate|revoke`.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Listing, Named, all, edit, ending, value_of};
use crate::cli::{Failure, print, warn};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::Error;
use crate::ids::KeyId;
use crate::store::Store;
use crate::tenancy::admin::view::KeyView;
use crate::tenancy::admin::{self, Actor, Edit, EditKey, Precondition};
use crate::tenancy::{Key, NewKey, OnDisconnect, Scope};

/// What `keys update --clear` may name.
const CLEARABLE: [&str; 4] = ["expires", "models", "regions", "networks"];

/// Make, list, change and revoke keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Make a key. It is shown once, alone on the last line.
    Create(CreateKey),
    /// List all keys.
    List {
        /// Id or name of a team: its keys alone.
        #[arg(long)]
        team: Option<String>,
        #[command(flatten)]
        common: Listing,
    },
    /// Show all settings of a key.
    Show {
        /// The key's id: what stands between the first two underscores of the key.
        id: String,
        #[command(flatten)]
        common: Listing,
    },
    /// Change a key; what is not named stays. It counts within seconds.
    Update(UpdateKey),
    /// Give a key another secret; its id stays. The new key is shown once, alone on the last line.
    Rotate(RotateKey),
    /// Revoke a key, for good.
    Revoke {
        /// The key's id: what stands between the first two underscores of the key.
        id: String,
        #[command(flatten)]
        common: Listing,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateKey {
    /// Id or name of the team it belongs to.
    #[arg(long)]
    team: String,
    /// What it is for.
    #[arg(long)]
    name: String,
    /// What it may do: inference, batch, admin, metrics.
    #[arg(long, value_delimiter = ',', default_value = "inference,batch")]
    scopes: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Make it an AWS access key pair as well, with which any AWS SDK signs, also over plain http. Its secret is then kept,
    /// sealed under the setting `auth.sealing_key`.
    #[arg(long)]
    sigv4: bool,
    #[command(flatten)]
    common: Listing,
}

/// The settings of a key.
#[derive(Debug, Args)]
struct Settings {
    /// When it ends: a duration from now, such as 30d or 12h, or a date and time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Models it may use, `*` at the end of a name as a wildcard; without it, those of its team.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Regions it may use; without it, those of its team.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// Networks that calls have to come from, such as 10.0.0.0/8; without it, anywhere.
    #[arg(long, value_delimiter = ',')]
    networks: Option<Vec<String>>,
    /// What becomes of a call whose client leaves: cancel or drain.
    #[arg(long, value_name = "WHAT")]
    on_disconnect: Option<String>,
}

impl Settings {
    fn named(&self) -> Named<'_> {
        let models = self.models.iter().flatten().map(String::as_str).collect();
        Named { models, regions: self.regions.as_deref().unwrap_or_default(), role_arn: None }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateKey {
    /// The key's id: what stands between the first two underscores of the key.
    id: String,
    /// A new name.
    #[arg(long)]
    name: Option<String>,
    /// What it may do: inference, batch, admin, metrics.
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    #[command(flatten)]
    settings: Settings,
    /// Settings that are to be as if they had never been named.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(CLEARABLE))]
    clear: Vec<String>,
    #[command(flatten)]
    common: Listing,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateKey {
    /// The key's id: what stands between the first two underscores of the key.
    id: String,
    /// How long the secret before still counts: 0s to 30d.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    overlap: String,
    #[command(flatten)]
    common: Listing,
}

impl Keys {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Self::Create(arguments) => arguments.run(&clock).await,
            Self::List { team, common } => {
                let store = common.store().await?;
                let which = admin::Keys { team };
                let listed = all(async |page| {
                    let listed = admin::page_of_keys(&store, &which, &page).await?;
                    let views = listed.data.iter().map(|(key, team)| KeyView::of(key, Some(team))).collect();
                    Ok(admin::Listed { data: views, next: listed.next })
                });
                let columns = ["id", "team_name", "name", "scopes", "expires_at", "revoked_at", "last_use"];
                common.table(&listed.await?, &columns)
            }
            Self::Show { id, common } => {
                let (key, team) = admin::find_key(&common.store().await?, &KeyId::from(&id)).await?;
                common.detail(&KeyView::of(&key, Some(&team)))
            }
            Self::Update(arguments) => arguments.run(&clock).await,
            Self::Rotate(arguments) => arguments.run(&clock).await,
            Self::Revoke { id, common } => {
                let store = common.store().await?;
                let key = admin::revoke_key(&store, &clock, Actor::CommandLine, &KeyId::from(&id)).await?;
                common.show(&view(&store, &key).await?, &format!("Revoked key {id}."))
            }
        }
    }
}

impl CreateKey {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { team, name, scopes, settings, sigv4, common } = self;
        let scopes = read_scopes(&scopes)?;
        let expires_at = settings.expires.as_deref().map(|when| ending("--expires", when, clock.now())).transpose()?;
        let (store, _) = common.store_for(&settings.named()).await?;
        let on_disconnect = settings.on_disconnect.as_deref().map(OnDisconnect::parse).transpose()?.unwrap_or_default();
        let Settings { models, regions, networks, .. } = settings;
        let sigv4 = sigv4.then(|| common.sealer()).transpose()?;
        let new =
            NewKey { scopes, expires_at, models, regions, networks, on_disconnect, sigv4, ..NewKey::new(team, name) };
        let (key, secret) = admin::create_key(&store, clock, Actor::CommandLine, new).await?;
        let view = view(&store, &key).await?;
        let team = view.team_name.as_deref().unwrap_or(key.team.as_str());
        let text = format!("Made key {} for team {team}. It is shown this once:", key.id);
        show_once(&common, (&key, &view), &text, &secret)
    }
}

impl RotateKey {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { id, overlap, common } = self;
        let now = clock.now();
        let overlap = ending("--overlap", &overlap, now)?.since(now);
        let store = common.store().await?;
        let id = KeyId::from(id);
        // Without the setting, keys that do not sign can be rotated all the same.
        let sealer = common.sealer().ok();
        let which = (&id, &Precondition::Any);
        let (key, secret) =
            admin::rotate_key(&store, clock, Actor::CommandLine, which, (overlap, sealer.as_ref())).await?;
        let view = view(&store, &key).await?;
        let until = view.previous_until.as_deref().unwrap_or_default();
        let text = format!("Rotated key {id}. The key before counts until {until}. The new one is shown this once:");
        show_once(&common, (&key, &view), &text, &secret)
    }
}

/// Shows a key with its whole text, alone on the last line or as one more field; and, of one that signs, what AWS SDKs take.
fn show_once(common: &Listing, (key, view): (&Key, &KeyView), text: &str, secret: &Secret) -> Result<(), Failure> {
    let secret_access_key = key.secret_access_key(secret);
    if !common.json {
        let id = &key.id;
        let pair = secret_access_key.map_or_else(String::new, |secret| {
            format!("For AWS SDKs that sign:\nAWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\nWhole:\n")
        });
        return print(&format!("{text}\n{pair}{}", secret.expose()));
    }
    let mut value = value_of(view)?;
    value["key"] = json!(secret.expose());
    if let Some(secret) = secret_access_key {
        value["access_key_id"] = json!(key.id.as_str());
        value["secret_access_key"] = json!(secret);
    }
    print(&value)
}

impl UpdateKey {
    async fn run(self, clock: &Clock) -> Result<(), Failure> {
        let Self { id, name, scopes, settings, clear, common } = self;
        let expires_at = settings.expires.as_deref().map(|when| ending("--expires", when, clock.now())).transpose()?;
        let (store, _) = common.store_for(&settings.named()).await?;
        let edit_key = EditKey {
            name: name.map_or(Edit::Keep, Edit::Set),
            scopes: scopes.map(|scopes| read_scopes(&scopes)).transpose()?.map_or(Edit::Keep, Edit::Set),
            expires_at: edit(expires_at, "expires", &clear)?,
            models: edit(settings.models, "models", &clear)?,
            regions: edit(settings.regions, "regions", &clear)?,
            networks: edit(settings.networks, "networks", &clear)?,
            on_disconnect: edit(settings.on_disconnect, "on-disconnect", &clear)?
                .read(|text| OnDisconnect::parse(&text))?,
        };
        if edit_key == EditKey::default() {
            warn(&"nothing is to be changed");
        }
        let key = KeyId::from(&id);
        let which = (&key, &Precondition::Any);
        let key = admin::change_key(&store, clock, Actor::CommandLine, which, edit_key).await?;
        common.show(&view(&store, &key).await?, &format!("Key {id} is set as asked."))
    }
}

fn read_scopes(names: &[String]) -> Result<Vec<Scope>, Error> {
    names.iter().map(|scope| Scope::parse(scope)).collect()
}

/// What is shown of a key, with the name of its team.
async fn view(store: &Store, key: &Key) -> Result<KeyView, Error> {
    let team = admin::find_team(store, key.team.as_str()).await?;
    Ok(KeyView::of(key, Some(&team.name)))
}
