//! Local mode: the gateway in front of a simulated Bedrock, with a key of its own and no AWS account.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Tls;
use crate::clock::Clock;
use crate::config::{Config, Problems, Secret};
use crate::error::{Error, Result};
use crate::ids;
use crate::simulator::{Bucket, Settings, Simulator};
use crate::store::Store;
use crate::tenancy::admin::{self, Actor};
use crate::tenancy::{NewKey, NewTeam, Sealer};

/// The name of local mode's team and of its key.
const LOCAL: &str = "local";

/// The jobs of the simulator are done within seconds.
const LOCAL_POLL_SECONDS: u64 = 5;

/// The file that clients of `--local --tls` have to trust.
const AUTHORITY: &str = "bedrock-gateway-local-ca.pem";

/// A simulated Bedrock that the configuration points to.
pub struct Local {
    /// What plays Bedrock.
    pub simulator: Simulator,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Local {
    /// Starts a simulator of these settings, one port for each Region, and points `config` at it.
    pub async fn start(config: &mut Config, settings: Settings) -> Result<Self> {
        config.aws.credentials = Some((settings.access_key.clone(), Secret::new(settings.secret_key.clone())));
        config.aws.bearer_token = None;
        config.aws.role_arn.clear();
        let simulator = Simulator::new(settings);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        for region in config.aws.regions.clone() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = TcpListener::bind(address).await.map_err(Error::internal)?;
            let url = format!("http://{}", listener.local_addr().map_err(Error::internal)?);
            let endpoints = config.aws.endpoints.entry(region.clone()).or_default();
            endpoints.runtime = Some(url.clone());
            endpoints.control = Some(url.clone());
            endpoints.s3 = Some(url.clone());
            endpoints.sts = Some(url);
            let (simulator, stop) = (simulator.clone(), stop.clone());
            tracker.spawn(async move {
                if let Err(error) = simulator.serve_region(listener, &region, stop.cancelled_owned()).await {
                    tracing::error!(%error, region, "the simulator failed");
                }
            });
        }
        Ok(Self { simulator, tracker, stop })
    }

    /// Stops the simulator.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Has batches and asynchronous invocations work without more ado: a bucket in each Region and the role of batch jobs,
/// unless the configuration names its own.
pub fn buckets(config: &mut Config, settings: &mut Settings) {
    let batch = &mut config.batch;
    if batch.bucket.is_empty() {
        let name = |region: &String| (region.clone(), format!("bedrock-gateway-{LOCAL}-{region}"));
        batch.bucket = config.aws.regions.iter().map(name).collect();
        batch.poll_seconds = LOCAL_POLL_SECONDS;
    }
    if batch.role_arn.is_empty() {
        batch.role_arn = format!("arn:aws:iam::{}:role/bedrock-gateway-batch", settings.account);
    }
    for (region, bucket) in &batch.bucket {
        let made = Bucket { region: region.clone(), ..Bucket::default() };
        settings.buckets.entry(bucket.clone()).or_insert(made);
    }
}

/// A sealing key for this start, where none is set: the key of local mode may sign, too.
pub fn sealing_key(config: &mut Config) {
    if config.auth.sealing_key.expose().is_empty() {
        config.auth.sealing_key = Secret::new(STANDARD.encode(Sha256::digest(ids::secret())));
    }
}

/// Has settings that were read again count in front of the simulator that `started` is in front of.
///
/// # Errors
/// A Region that the simulator was not started with.
pub fn again(config: &mut Config, started: &Config) -> Result<(), Problems> {
    let mut problems = Problems::default();
    config.aws.credentials.clone_from(&started.aws.credentials);
    config.aws.bearer_token = None;
    config.aws.role_arn.clear();
    for (index, region) in config.aws.regions.iter().enumerate() {
        match started.aws.endpoints.get(region) {
            Some(endpoints) => drop(config.aws.endpoints.insert(region.clone(), endpoints.clone())),
            None => problems.add(format!("aws.regions[{index}]"), "is simulated by --local after a restart only"),
        }
    }
    config.server.notice_seconds = 0;
    config.batch.clone_from(&started.batch);
    config.auth.sealing_key.clone_from(&started.auth.sealing_key);
    problems.or(())
}

/// Makes the key of local mode, which may sign if there is a sealing key; those of earlier starts cease to work.
pub async fn key(config: &Config, clock: &Clock) -> Result<String> {
    let store = Store::open(&config.store.url).await?;
    let team = match admin::list_teams(&store).await?.into_iter().find(|team| team.name == LOCAL) {
        Some(team) => team,
        None => admin::create_team(&store, clock, Actor::Gateway, NewTeam::new(LOCAL)).await?,
    };
    for key in admin::list_keys(&store).await? {
        if key.team == team.id && key.name == LOCAL && key.revoked_at.is_none() {
            admin::revoke_key(&store, clock, Actor::Gateway, &key.id).await?;
        }
    }
    let new = NewKey { sigv4: Sealer::configured(&config.auth), ..NewKey::new(LOCAL, LOCAL) };
    let (_, secret) = admin::create_key(&store, clock, Actor::Gateway, new).await?;
    store.close().await;
    Ok(secret.expose().to_owned())
}

/// A certificate for `localhost` and the loopback addresses from an authority made on the spot, whose own certificate is
/// written to a file in the working directory. Returns that file's path.
pub async fn development_tls() -> Result<(Tls, PathBuf)> {
    let (chain, key, authority) = certificates().map_err(Error::internal)?;
    let path = Path::new(".").canonicalize().map_err(Error::internal)?.join(AUTHORITY);
    std::fs::write(&path, authority)
        .map_err(|error| Error::internal(error).param(format!("cannot write {}", path.display())))?;
    Ok((Tls::from_pem(chain, key).await?, path))
}

fn certificates() -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "bedrock-gateway local development");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok((certificate.pem(), key.serialize_pem(), authority.pem()))
}
