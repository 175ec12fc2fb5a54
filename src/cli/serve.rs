//! `serve` and `simulate`.

use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigFile, Failure, print};
use crate::app::{self, App, Local, Tls, Watched};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::error::Error;
use crate::simulator::{self, Bucket, Settings, Simulator};
use crate::telemetry;

/// Run the gateway.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// Embed the simulator instead of calling AWS, and print a key that works.
    #[arg(long)]
    local: bool,
    /// With --local: serve https with a development certificate.
    #[arg(long, requires = "local")]
    tls: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // Before anything that takes time: as the first process of a container it has no default for what it does not handle.
        let mut signals = Signals::new()?;
        let watched = Watched::new(self.config.file.clone());
        let (mut config, catalog) = self.config.load()?;
        let _log = telemetry::install(&config.telemetry.log)?;
        telemetry::panics::report();
        app::raise_open_files();
        if self.local {
            refuse_shared_store(&config)?;
        }
        let starting = async {
            if self.local { self.start_local(&mut config, catalog).await } else { start(&config, catalog).await }
        };
        let (app, local) = tokio::select! {
            started = Box::pin(starting) => started?,
            () = signals.end() => {
                tracing::info!("told to stop before it was ready");
                return Ok(());
            }
        };
        self.work(&app, watched, &mut signals).await;
        tracing::info!("draining");
        app.drain(signals.end()).await;
        if let Some(local) = local {
            local.stop().await;
        }
        Ok(())
    }

    /// Reads the configuration again whenever that is asked for, until it is time to stop.
    async fn work(&self, app: &App, mut watched: Watched, signals: &mut Signals) {
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::End => return,
                    Told::Reload => watched.reading(),
                },
                () = watched.changed() => {}
            }
            app.reload(self.read_again(app.started())).await;
        }
    }

    fn read_again(&self, started: &Config) -> Result<(Config, Catalog), Problems> {
        let (mut config, catalog) = self.config.load()?;
        if self.local {
            app::local_again(&mut config, started)?;
        }
        Ok((config, catalog))
    }

    async fn start_local(&self, config: &mut Config, catalog: Catalog) -> Result<(App, Option<Local>), Failure> {
        let mut settings = Settings::default();
        app::local_buckets(config, &mut settings);
        // Nobody balances load over it.
        config.server.notice_seconds = 0;
        let local = Local::start(config, settings).await?;
        app::local_sealing_key(config);
        let clock = Clock::system();
        let (tls, authority) = if self.tls {
            let (tls, path) = app::development_tls().await?;
            (Some(tls), Some(path))
        } else {
            (None, None)
        };
        let app = App::start(config, catalog, clock.clone(), tls).await?;
        let key = app::local_key(config, &clock).await?;
        let scheme = if self.tls { "https" } else { "http" };
        let welcome = Welcome {
            base: format!("{scheme}://{}", app.address),
            ops: format!("http://{}", app.ops_address),
            key,
            simulators: simulators(config),
            authority: authority.map(|path| path.display().to_string()),
        };
        print(&welcome.text())?;
        Ok((app, Some(local)))
    }
}

async fn start(config: &Config, catalog: Catalog) -> Result<(App, Option<Local>), Failure> {
    let tls = match config.server.tls_cert.as_str() {
        "" => None,
        chain => Some(Tls::from_files(chain, &config.server.tls_key).await?),
    };
    let app = App::start(config, catalog, Clock::system(), tls).await?;
    tracing::info!(address = %app.address, ops_address = %app.ops_address, "ready");
    Ok((app, None))
}

/// Local mode makes a team and a key: not in a database that a real gateway may share.
fn refuse_shared_store(config: &Config) -> Result<(), Error> {
    if config.store.url.starts_with("sqlite:") {
        return Ok(());
    }
    let message = "--local would make a team and a key in this database, which others may use; it takes a SQLite store \
                   only, such as sqlite://local.db";
    Err(Error::invalid("store.url", message))
}

/// What local mode says when it is ready.
struct Welcome {
    base: String,
    ops: String,
    key: String,
    /// Each Region's part of the simulator, in order of preference.
    simulators: String,
    authority: Option<String>,
}

/// `http://127.0.0.1:PORT (us-east-1), ...`: where the simulator takes orders for faults.
fn simulators(config: &Config) -> String {
    let url = |region: &String| config.aws.endpoints.get(region)?.runtime.clone();
    let parts = config.aws.regions.iter().filter_map(|region| Some(format!("{} ({region})", url(region)?)));
    parts.collect::<Vec<_>>().join(", ")
}

impl Welcome {
    fn text(&self) -> String {
        let Self { base, ops, key, simulators, authority } = self;
        let trust = authority.as_ref().map_or(String::new(), |path| format!(" --cacert {path}"));
        let text = format!(
            "bedrock-gateway is ready, in front of a simulated Bedrock: no AWS account is used.\n\n\
             base URL  {base}/v1\n\
             key       {key}\n\
             docs      {base}/docs\n\
             metrics   {ops}/metrics\n\
             simulator {simulators}\n\n\
             Try it:\n\n\
             curl -N{trust} {base}/v1/chat/completions -H 'Authorization: Bearer {key}' \
             -H 'Content-Type: application/json' -d '{{\"model\":\"claude-haiku-4-5\",\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n"
        );
        let mut parts = key.splitn(3, '_').skip(1);
        let pair = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let for_boto3 = match (authority, pair) {
            (Some(path), _) => format!("export AWS_CA_BUNDLE={path}\nexport AWS_BEARER_TOKEN_BEDROCK={key}\n"),
            // It sends a bearer key over https only, but signs over http as well.
            (None, (id, secret)) => format!("export AWS_ACCESS_KEY_ID={id}\nexport AWS_SECRET_ACCESS_KEY={secret}\n"),
        };
        format!("{text}\nFor boto3 (endpoint_url='{base}'):\n\n{for_boto3}")
    }
}

/// Run the simulator alone.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4567")]
    listen: SocketAddr,
    /// A bucket that S3 has; may be given several times.
    #[arg(long = "bucket", value_name = "REGION=NAME", value_parser = bucket)]
    buckets: Vec<(String, Bucket)>,
}

/// `REGION=NAME`.
fn bucket(text: &str) -> Result<(String, Bucket), String> {
    let named = text.split_once('=').filter(|(region, name)| !region.is_empty() && !name.is_empty());
    let (region, name) = named.ok_or("write REGION=NAME, such as us-east-1=my-bucket")?;
    if !simulator::is_region(region) {
        return Err(format!("AWS has no Region \"{region}\""));
    }
    Ok((name.to_owned(), Bucket { region: region.to_owned(), ..Bucket::default() }))
}

impl Simulate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let _log = telemetry::install("info")?;
        let mut signals = Signals::new()?;
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Error::invalid("--listen", format!("cannot listen on {}: {error}", self.listen)))?;
        let address = listener.local_addr()?;
        let settings = Settings { buckets: self.buckets.into_iter().collect(), ..Settings::default() };
        print(&format!(
            "Simulated Bedrock on http://{address}; the Region is the one a call is signed for.\n\n\
             export AWS_ENDPOINT_URL=http://{address}\n\
             export AWS_ACCESS_KEY_ID={}\n\
             export AWS_SECRET_ACCESS_KEY={}\n",
            settings.access_key, settings.secret_key
        ))?;
        Simulator::new(settings).serve(listener, async move { signals.end().await }).await?;
        Ok(())
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    Reload,
}

/// The signals that end the process, and the one that has it read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Waits for the next SIGTERM or SIGINT. SIGHUP ends nothing, and there is nothing that could read its configuration.
    async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_bucket_is_in_a_region_that_there_is() {
        let (name, made) = bucket("eu-west-1=files").unwrap();
        assert_eq!((name.as_str(), made.region.as_str()), ("files", "eu-west-1"));
        for wrong in ["mars-1=x", "us-nowhere-1=x", "x", "=x", "us-east-1="] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn local_mode_writes_into_no_shared_database() {
        let mut config = Config::default();
        assert!(refuse_shared_store(&config).is_ok());
        config.store.url = "postgres://gateway:hunter2@db/prod".into();
        let error = refuse_shared_store(&config).unwrap_err();
        assert_eq!(error.blamed(), Some("store.url"));
        assert!(error.message().contains("SQLite") && !error.message().contains("hunter2"), "{error}");
    }
}
