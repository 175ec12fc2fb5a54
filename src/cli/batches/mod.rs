//! `batches`: files of records for a gateway that runs elsewhere, over its HTTP API.
//!
//! Unlike the other commands this one knows neither store nor configuration: a URL and a key are all it needs. Results go to
//! standard output; bars, waits and warnings to standard error.

mod results;
mod shown;
mod submit;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use self::results::Results;
use self::submit::Submit;
use super::{Failure, print, variable};
use crate::client::Client;
use crate::config::Secret;
use crate::error::Error;

/// Most batches that the gateway lists at once.
const PAGE: u32 = 100;

/// Submit files of records to a gateway, watch them, and fetch the results.
#[derive(Debug, Subcommand)]
pub(super) enum Batches {
    /// Upload a file of records and have it run.
    Submit(Submit),
    /// Show how far a batch is until it is over. Exit code 0 when it was completed, else 1.
    Watch {
        /// Its id.
        id: String,
        #[command(flatten)]
        at: At,
    },
    /// List batches, the newest first.
    List {
        /// How many: at least 1.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Those after the one with this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Show all there is to know of a batch.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        at: At,
    },
    /// Cancel a batch; what is done by then stays, and is paid for.
    Cancel {
        /// Its id.
        id: String,
        #[command(flatten)]
        at: At,
    },
    /// Fetch the results of a batch.
    Results(Results),
}

/// Which gateway, and as whom.
#[derive(Debug, Args)]
pub(in crate::cli) struct At {
    /// The gateway; without it, `BEDROCK_GATEWAY_URL`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file that holds the key; without it, `BEDROCK_GATEWAY_KEY`.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A PEM file of authorities to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// JSON instead of text, as the gateway answers it.
    #[arg(long)]
    json: bool,
}

impl At {
    fn client(&self) -> Result<Client, Failure> {
        let url = self.url.clone().or_else(|| variable("BEDROCK_GATEWAY_URL")).ok_or_else(|| {
            let told = "Which gateway? Name it by --url or BEDROCK_GATEWAY_URL, such as https://gateway.example.com";
            Error::invalid("--url", told)
        })?;
        Ok(Client::new(&url, self.key()?, self.ca.as_deref())?)
    }

    fn key(&self) -> Result<Secret, Error> {
        if let Some(path) = &self.key_file {
            let unread = |error| Error::invalid("--key-file", format!("{} cannot be read: {error}", path.display()));
            return std::fs::read_to_string(path).map(|text| Secret::new(text.trim())).map_err(unread);
        }
        let key = variable("BEDROCK_GATEWAY_KEY").map(|text| Secret::new(text.trim()));
        key.ok_or_else(|| {
            let told = "As whom? Put the key into BEDROCK_GATEWAY_KEY, or into a file that --key-file names.";
            Error::invalid("--key-file", told)
        })
    }
}

impl Batches {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Submit(submit) => submit.run().await,
            Self::Watch { id, at } => watch::watch(&at.client()?, &id, &at).await,
            Self::List { limit, after, at } => list(&at, limit, after).await,
            Self::Show { id, at } => {
                let batch = at.client()?.batch(&id).await?;
                if at.json { print(&batch) } else { print(&shown::detail(&batch)) }
            }
            Self::Cancel { id, at } => {
                let batch = at.client()?.cancel(&id).await?;
                if at.json { print(&batch) } else { print(&shown::line(&batch)) }
            }
            Self::Results(results) => results.run().await,
        }
    }
}

async fn list(at: &At, limit: u32, after: Option<String>) -> Result<(), Failure> {
    let client = at.client()?;
    let (mut batches, mut after, mut has_more) = (Vec::new(), after, true);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while has_more && batches.len() < limit {
        let wanted = u32::try_from(limit - batches.len()).unwrap_or(PAGE).min(PAGE);
        let (page, more) = client.batches(after.as_deref(), wanted).await?;
        // An empty page leads no further, whatever it says.
        has_more = more && !page.is_empty();
        after = page.last().and_then(|batch| batch["id"].as_str()).map(str::to_owned);
        batches.extend(page);
    }
    if at.json {
        return print(&json!({ "data": batches, "has_more": has_more }));
    }
    print(&shown::table(&batches))
}
