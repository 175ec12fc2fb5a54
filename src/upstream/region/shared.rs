//! What all Regions of all identities have in common: the connections, the gateway's own credentials, AWS's clock. Loaded
//! once; a change of the settings replaces the timeouts alone.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials as StaticCredentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use http::HeaderValue;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::upstream::assume::{Role, Session, Sts};
use crate::upstream::credentials::{Credentials, Owner};
use crate::upstream::identity::TeamRole;
use crate::upstream::objects::Patience;
use crate::upstream::time::AwsClock;
use crate::upstream::wire::Wire;

/// What all Regions of all identities have in common.
pub(in crate::upstream) struct Shared {
    pub(in crate::upstream) wire: Arc<Wire>,
    /// How the gateway shows who it is, where no team's role is meant.
    pub(super) access: Access,
    /// The gateway's own, with which the roles of teams are assumed: also where `access` is an API key, which is of
    /// Bedrock alone and which STS does not know.
    pub(super) credentials: Credentials,
    pub(super) sts: Sts,
    pub(super) clock: AwsClock,
    pub(super) patience: Patience,
    pub(super) tracker: TaskTracker,
}

/// How somebody shows who it is.
#[derive(Clone)]
pub(super) enum Access {
    /// With an Amazon Bedrock API key; the header is `Bearer <key>`.
    Bearer(HeaderValue),
    /// With signatures.
    Signature(Credentials),
}

impl Shared {
    pub(in crate::upstream) async fn load(aws: &config::Aws, clock: Clock, tracker: &TaskTracker) -> Result<Self> {
        let Some(first) = aws.regions.first() else {
            return Err(Error::invalid("aws.regions", "At least one Region is needed."));
        };
        let clock = AwsClock::new(clock);
        // Named here because the default lookup would end by asking the instance over the network.
        let mut sdk =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).region(aws_types::region::Region::new(first.clone()));
        if let Some((id, secret)) = &aws.credentials {
            sdk = sdk.credentials_provider(StaticCredentials::new(id, secret.expose(), None, None, "configuration"));
        }
        let sdk = Box::pin(sdk.time_source(clock.clone()).load()).await;
        let url = aws.endpoints.get(first).and_then(|endpoints| endpoints.sts.clone());
        let sts = Sts { sdk, url, clock: clock.clone() };
        let credentials = credentials(aws, &sts, tracker)?;
        let access = match &aws.bearer_token {
            Some(key) => {
                let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                    Error::invalid("AWS_BEARER_TOKEN_BEDROCK", "The key holds characters that no header may have.")
                })?;
                header.set_sensitive(true);
                Access::Bearer(header)
            }
            None => Access::Signature(credentials.clone()),
        };
        let (wire, patience) = (Arc::new(Wire::new(aws)), Patience::new(aws));
        Ok(Self { wire, access, credentials, sts, clock, patience, tracker: tracker.clone() })
    }

    /// The same with the timeouts of `aws`; itself if they are its own.
    pub(in crate::upstream) fn with_patience(self: &Arc<Self>, aws: &config::Aws) -> Arc<Self> {
        if self.wire.has_patience_of(aws) {
            return Arc::clone(self);
        }
        Arc::new(Self {
            wire: Arc::new(self.wire.with_patience(aws)),
            access: self.access.clone(),
            credentials: self.credentials.clone(),
            sts: self.sts.clone(),
            clock: self.clock.clone(),
            patience: Patience::new(aws),
            tracker: self.tracker.clone(),
        })
    }

    /// Loads in the background what the first call would have to wait for.
    pub(in crate::upstream) fn warm_up(&self) {
        let wire = Arc::clone(&self.wire);
        self.tracker.spawn_blocking(move || {
            wire.client();
        });
        if let Access::Signature(credentials) = &self.access {
            let (credentials, now) = (credentials.clone(), self.clock.now());
            // A failure is in the log, and the first call tries again.
            self.tracker.spawn(async move { credentials.keys(now).await.is_ok() });
        }
    }

    /// The credentials of a team's role; asks AWS for nothing yet.
    pub(super) fn assumed(&self, role: TeamRole<'_>) -> Credentials {
        let assumed = Role {
            arn: role.arn.to_owned(),
            session: Session::of_team(role.team, role.name),
            base: self.credentials.clone(),
            sts: self.sts.clone(),
        };
        let provider = SharedCredentialsProvider::new(assumed);
        Credentials::new(provider, Owner::Team(role.team.into()), self.clock.clone(), self.tracker.clone())
    }
}

/// The gateway's own credentials: those of the chain, or of the role that they assume.
fn credentials(aws: &config::Aws, sts: &Sts, tracker: &TaskTracker) -> Result<Credentials> {
    let provider = sts.sdk.credentials_provider();
    let provider = provider.ok_or_else(|| Error::internal("the AWS chain has no credentials provider"))?;
    let new = |provider| Credentials::new(provider, Owner::Gateway, sts.clock.clone(), tracker.clone());
    let chain = new(provider);
    if aws.role_arn.is_empty() {
        return Ok(chain);
    }
    let role = Role { arn: aws.role_arn.clone(), session: Session::own(), base: chain, sts: sts.clone() };
    Ok(new(SharedCredentialsProvider::new(role)))
}
