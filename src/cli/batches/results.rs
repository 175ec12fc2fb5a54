//! `batches results`: the answers of a batch, or its errors, to standard output or into a file.
//!
//! A file appears under its name when all of it is there. Until then it is kept beside it, under the id of what is fetched,
//! and the next try goes on where the last one ended.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;

use super::submit::style;
use super::{At, shown};
use crate::cli::Failure;
use crate::client::{Client, Piece, Unfinished};
use crate::error::{Error, Kind};

#[derive(Debug, Args)]
pub(in crate::cli) struct Results {
    /// The id of the batch.
    id: String,
    /// The records that have errors instead of those with answers.
    #[arg(long)]
    errors: bool,
    /// Where to put them; without it, standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

impl Results {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.at.client()?;
        let batch = client.batch(&self.id).await?;
        let file = file_of(&batch, if self.errors { "error_file_id" } else { "output_file_id" })?;
        match &self.output {
            Some(path) => into_file(&client, file, path).await,
            None => to_stdout(&client, file).await,
        }
    }
}

/// The file with what is wanted of a batch, or why there is none.
fn file_of<'a>(batch: &'a Value, name: &str) -> Result<&'a str, Error> {
    if let Some(file) = batch[name].as_str() {
        return Ok(file);
    }
    let (id, status) = (shown::text(batch, "id"), shown::text(batch, "status"));
    let what = if name == "error_file_id" { "errors" } else { "answers" };
    let message = match status {
        "completed" | "failed" | "expired" | "cancelled" => format!("{id} is {status} and has no {what}."),
        _ => format!("{id} is {status}: there are no {what} yet. `bedrock-gateway batches watch {id}` waits for them."),
    };
    Err(Error::new(Kind::NotFound, message))
}

async fn to_stdout(client: &Client, file: &str) -> Result<(), Failure> {
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Length(_) => Ok(()),
        Piece::Bytes(bytes) => std::io::stdout().lock().write_all(bytes),
    };
    client.download(file, 0, &mut take).await.map_err(unfinished)?;
    std::io::stdout().lock().flush()?;
    Ok(())
}

async fn into_file(client: &Client, file: &str, path: &Path) -> Result<(), Failure> {
    let part = part_of(path, file);
    let blame = |error: std::io::Error| Error::invalid("--output", format!("{}: {error}", part.display()));
    let mut kept = OpenOptions::new().create(true).append(true).open(&part).map_err(blame)?;
    let from = kept.metadata().map_err(blame)?.len();
    let bar = ProgressBar::new(0).with_style(style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
    bar.set_position(from);
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Length(length) => {
            bar.set_length(length);
            Ok(())
        }
        Piece::Bytes(bytes) => {
            bar.inc(bytes.len() as u64);
            kept.write_all(bytes)
        }
    };
    let done = client.download(file, from, &mut take).await;
    bar.finish_and_clear();
    done.map_err(unfinished)?;
    finish(&kept, &part, path).map_err(|error| blame(error).into())
}

fn finish(kept: &File, part: &Path, path: &Path) -> std::io::Result<()> {
    kept.sync_all()?;
    std::fs::rename(part, path)
}

/// Where a file is kept until all of it is there.
fn part_of(path: &Path, file: &str) -> PathBuf {
    let id: String = file.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{id}.part"));
    path.with_file_name(name)
}

fn unfinished(why: Unfinished) -> Failure {
    match why {
        Unfinished::Refused(error) => Failure::Error(error),
        Unfinished::Unkept(error) => Failure::Output(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_told_by_what_the_batch_is() {
        let batch = |status: &str| json!({"id": "batch_1", "status": status, "output_file_id": null});
        let told = |status: &str, name: &str| file_of(&batch(status), name).unwrap_err().message().to_owned();
        assert!(told("in_progress", "output_file_id").contains("no answers yet"));
        assert_eq!(told("completed", "error_file_id"), "batch_1 is completed and has no errors.");
        assert_eq!(file_of(&json!({"output_file_id": "file-1"}), "output_file_id").unwrap(), "file-1");
    }

    #[test]
    fn a_part_lies_beside_its_file_under_the_id_of_what_is_fetched() {
        assert_eq!(part_of(Path::new("a/b.jsonl"), "file-1"), Path::new("a/b.jsonl.file-1.part"));
        assert_eq!(part_of(Path::new("b"), "../x"), Path::new("b.x.part"));
    }
}
