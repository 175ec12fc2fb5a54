//! `batches submit`: a file from the disk to a batch that runs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{At, shown, watch};
use crate::cli::{Failure, print, warn};
use crate::client::{Client, NewBatch, is_passing};
use crate::error::Error;

/// How much of a file is looked at for its first line.
const FIRST_LINE: u64 = 32 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Submit {
    /// The file: a JSON object a line, as OpenAI's batches have them.
    file: PathBuf,
    /// What its records ask for; without it, what the first of them says.
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// How long it may take, in hours.
    #[arg(long, value_name = "HOURS", default_value = "24h")]
    window: String,
    /// Something of your own that stays with the batch; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::cli::admin::pair)]
    metadata: Vec<(String, String)>,
    /// Who is told when it is over, instead of the team's own webhook.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Then show how far it is until it is over. Exit code 0 when it was completed, else 1.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    at: At,
}

impl Submit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { file, endpoint, window, metadata, webhook_url, watch, at } = self;
        let client = at.client()?;
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => first_endpoint(&file)?,
        };
        // Before much is sent to a wrong place, or with a wrong key.
        client.check().await?;
        let uploaded = upload(&client, &file).await?;
        let id = uploaded["id"].as_str().unwrap_or_default().to_owned();
        let new = NewBatch { file: id.clone(), endpoint, window, metadata, webhook_url };
        let batch = match client.submit(&new).await {
            Ok(batch) => batch,
            Err(error) => {
                give_back(&client, &id, &error).await;
                return Err(error.into());
            }
        };
        if !watch {
            return if at.json { print(&batch) } else { print(&told(&batch)) };
        }
        if !at.json {
            print(&told(&batch))?;
        }
        watch::watch(&client, shown::text(&batch, "id"), &at).await
    }
}

/// Nobody else knows of a file whose batch was refused. One that may have been taken stays.
async fn give_back(client: &Client, file: &str, error: &Error) {
    if is_passing(error) || client.delete_file(file).await.is_err() {
        warn(&format!("the file is uploaded as {file}"));
    }
}

fn told(batch: &Value) -> String {
    let estimate = batch["gateway"]["estimate_usd"].as_str();
    let estimate = estimate.map(|usd| format!("; it may cost ${usd} at most")).unwrap_or_default();
    format!("{} is {}{estimate}.", shown::text(batch, "id"), shown::text(batch, "status"))
}

async fn upload(client: &Client, path: &Path) -> Result<Value, Failure> {
    let length = std::fs::metadata(path).map_or(0, |about| about.len());
    // It draws on standard error, and nothing where that is no terminal.
    let bar = ProgressBar::new(length).with_style(style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
    let moving = bar.clone();
    let uploaded = client.upload(path, move |bytes| moving.inc(bytes as u64)).await;
    bar.finish_and_clear();
    Ok(uploaded?)
}

/// The look of a bar; without one if the template cannot be read.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What the first record of a file asks for.
fn first_endpoint(path: &Path) -> Result<String, Error> {
    let wrong = |why: String| Error::invalid("FILE", format!("{} {why}", path.display()));
    let unread = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let mut lines = BufReader::new(std::fs::File::open(path).map_err(unread)?.take(FIRST_LINE));
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(unread)? == 0 {
            return Err(wrong("has no records".into()));
        }
    }
    let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
    let record: Value = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("is no file of records: its first line is no JSON ({error})")))?;
    let url = record["url"].as_str().map(str::to_owned);
    url.ok_or_else(|| Error::invalid("--endpoint", "The first record names no `url`: say what the records ask for."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint_of(content: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        first_endpoint(file.path()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_first_record_says_what_is_asked_for() {
        let line = br#"{"custom_id": "a", "url": "/v1/embeddings"}"#;
        for before in [&b""[..], b"\xef\xbb\xbf", b"\r\n\n  \n"] {
            assert_eq!(endpoint_of(&[before, line, b"\nnonsense"].concat()).unwrap(), "/v1/embeddings");
        }
        for (content, told) in [
            (&b""[..], "has no records"),
            (b"\n\n", "has no records"),
            (b"custom_id,prompt\n", "its first line is no JSON"),
            (br#"{"custom_id": "a", "params": {}}"#, "names no `url`"),
        ] {
            let error = endpoint_of(content).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let missing = first_endpoint(Path::new("/nonexistent/prompts.jsonl")).unwrap_err();
        assert_eq!(missing.blamed(), Some("FILE"));
        assert!(missing.message().contains("/nonexistent/prompts.jsonl cannot be read"), "{missing}");
    }
}
