//! The certificate of a listener. Its files are read again when they change; a pair that cannot be used changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;

use super::certificate;
use super::watched::{Stamp, stamp};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::telemetry::Metrics;

/// How often the certificate files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// The certificate of a listener.
#[derive(Clone)]
pub struct Tls {
    config: RustlsConfig,
    /// Where it was read from, if from files.
    files: Option<Files>,
    /// When it ends, as far as that can be read.
    not_after: Option<Timestamp>,
}

impl Tls {
    /// From a chain and its private key, both in PEM.
    pub async fn from_pem(chain: String, key: String) -> Result<Self> {
        let not_after = certificate::not_after(chain.as_bytes());
        let config = RustlsConfig::from_pem(chain.into_bytes(), key.into_bytes()).await;
        config
            .map(|config| Self { config, files: None, not_after })
            .map_err(|error| Error::new(Kind::Invalid, "The TLS certificate cannot be used.").source(error))
    }

    /// From PEM files, which are read again when they change. The setting whose file is at fault is to blame.
    pub async fn from_files(chain: &str, key: &str) -> Result<Self> {
        // Before they are read: what is written meanwhile counts as a change.
        let files = Files::seen(chain, key);
        let read = |setting, path| {
            std::fs::read(path)
                .map_err(|error| Error::invalid(setting, format!("{path} cannot be read: {error}")).source(error))
        };
        let (certificates, secret) = (read("server.tls_cert", chain)?, read("server.tls_key", key)?);
        let not_after = certificate::not_after(&certificates);
        let config = RustlsConfig::from_pem(certificates, secret).await.map_err(|error| {
            Error::invalid("server.tls_cert", format!("cannot use {chain} with {key}: {error}")).source(error)
        })?;
        Ok(Self { config, files: Some(files), not_after })
    }

    /// When it ends, as far as that can be read.
    pub(super) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// What connections are encrypted with.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Looks at the files now and then, for ever, and tells when the certificate ends that is in use; without files there is
    /// nothing to do.
    pub(super) async fn watch(self, metrics: Metrics) {
        let Self { config, files: Some(mut files), .. } = self else { return };
        loop {
            tokio::time::sleep(CERTIFICATE_LOOK).await;
            let look = files.reload(&config).await;
            look.tell(&metrics);
        }
    }
}

/// The files of a certificate, and what they were like when they were last read.
#[derive(Clone)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    stamps: [Stamp; 2],
}

/// What came of a look at the files.
#[derive(Debug)]
enum Reload {
    Unchanged,
    /// New connections get the new certificate, which ends then.
    Done(Option<Timestamp>),
    /// They changed and cannot be used; not tried again until they change again.
    Refused(io::Error),
}

impl Reload {
    fn tell(self, metrics: &Metrics) {
        match self {
            Self::Unchanged => {}
            Self::Done(not_after) => {
                metrics.certificate(not_after);
                tracing::info!("the TLS certificate was read again");
            }
            Self::Refused(error) => {
                metrics.certificate_refused();
                tracing::error!(%error, "the changed TLS certificate cannot be used; the one before goes on");
            }
        }
    }
}

impl Files {
    fn seen(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let (chain, key) = (chain.into(), key.into());
        let stamps = [stamp(&chain), stamp(&key)];
        Self { chain, key, stamps }
    }

    /// Reads the files again if they changed. New connections get the new certificate.
    async fn reload(&mut self, config: &RustlsConfig) -> Reload {
        let stamps = [stamp(&self.chain), stamp(&self.key)];
        if stamps == self.stamps {
            return Reload::Unchanged;
        }
        self.stamps = stamps;
        self.load(config).await.map_or_else(Reload::Refused, Reload::Done)
    }

    async fn load(&self, config: &RustlsConfig) -> io::Result<Option<Timestamp>> {
        let (chain, key) = (read(&self.chain).await?, read(&self.key).await?);
        let not_after = certificate::not_after(&chain);
        config.reload_from_pem(chain, key).await?;
        Ok(not_after)
    }
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A self-signed certificate and its key, in PEM.
    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    struct Folder(TempDir);

    impl Folder {
        fn path(&self, name: &str) -> String {
            self.0.path().join(name).display().to_string()
        }

        /// Writes a file as if `minutes` after the others, however coarse the clock of the file system is.
        fn write(&self, name: &str, text: &str, minutes: u64) {
            std::fs::write(self.path(name), text).unwrap();
            let file = std::fs::File::options().write(true).open(self.path(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_mins(minutes)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_changed_certificate_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = Folder(TempDir::new().unwrap());
        let (chain, key) = pair();
        folder.write("chain", &chain, 1);
        folder.write("key", &key, 1);
        let tls = Tls::from_files(&folder.path("chain"), &folder.path("key")).await.unwrap();
        let (config, mut files) = (tls.config, tls.files.unwrap());
        let first = config.get_inner();
        assert!(matches!(files.reload(&config).await, Reload::Unchanged));

        // As a renewal that has written one of the two files.
        let (chain, key) = pair();
        folder.write("chain", &chain, 2);
        assert!(matches!(files.reload(&config).await, Reload::Refused(_)), "the key is not this certificate's");
        assert!(matches!(files.reload(&config).await, Reload::Unchanged), "the same is told once");
        assert!(Arc::ptr_eq(&first, &config.get_inner()));

        folder.write("key", &key, 2);
        assert!(matches!(files.reload(&config).await, Reload::Done(Some(_))));
        assert!(!Arc::ptr_eq(&first, &config.get_inner()));

        let second = config.get_inner();
        std::fs::remove_file(folder.path("key")).unwrap();
        assert!(matches!(files.reload(&config).await, Reload::Refused(_)));
        assert!(Arc::ptr_eq(&second, &config.get_inner()));
    }

    #[tokio::test]
    async fn the_end_of_a_renewed_certificate_is_told_and_so_is_one_that_cannot_be_used() {
        let folder = Folder(TempDir::new().unwrap());
        let (chain, key) = pair();
        folder.write("chain", &chain, 1);
        folder.write("key", &key, 1);
        let tls = Tls::from_files(&folder.path("chain"), &folder.path("key")).await.unwrap();
        let metrics = Metrics::new().unwrap();
        metrics.certificate(tls.not_after());
        let told = |line: &str| metrics.render().lines().any(|told| told == line);
        assert!(told("gateway_tls_certificate_last_reload_successful 1"));

        let key = KeyPair::generate().unwrap();
        let mut renewed = CertificateParams::new(vec!["localhost".into()]).unwrap();
        renewed.not_after = rcgen::date_time_ymd(2033, 5, 18);
        folder.write("chain", &renewed.self_signed(&key).unwrap().pem(), 2);
        let (config, mut files) = (tls.config, tls.files.unwrap());
        files.reload(&config).await.tell(&metrics);
        assert!(told("gateway_tls_certificate_last_reload_successful 0"));
        assert!(!told("gateway_tls_certificate_not_after_timestamp_seconds 1999987200"), "the one before is in use");

        folder.write("key", &key.serialize_pem(), 2);
        files.reload(&config).await.tell(&metrics);
        assert!(told("gateway_tls_certificate_last_reload_successful 1"));
        assert!(told("gateway_tls_certificate_not_after_timestamp_seconds 1999987200"));
    }

    #[tokio::test]
    async fn a_certificate_file_that_cannot_be_read_is_named_by_its_setting() {
        let folder = Folder(TempDir::new().unwrap());
        let (chain, key) = pair();
        folder.write("chain", &chain, 1);
        let blamed = |chain: String, key: String| async move {
            let Err(error) = Tls::from_files(&chain, &key).await else { return None };
            error.blamed().map(str::to_owned)
        };
        let (good, missing) = (folder.path("chain"), folder.path("missing"));
        assert_eq!(blamed(missing.clone(), good.clone()).await.as_deref(), Some("server.tls_cert"));
        assert_eq!(blamed(good.clone(), missing).await.as_deref(), Some("server.tls_key"));
        folder.write("key", &key, 1);
        assert_eq!(blamed(good.clone(), folder.path("key")).await, None);
        folder.write("key", "no key", 1);
        assert_eq!(blamed(good, folder.path("key")).await.as_deref(), Some("server.tls_cert"));
    }
}
