//! What `Validating` looks at: that there are files, their sizes, that each line is a record, and how many there are.

use super::lines::{InputFile, Lines, Next};
use super::quota::Limits;
use super::record::Record;
use super::{Job, SLICE};
use crate::simulator::Simulator;

/// The files of a job's input: the one object of its address, or every `.jsonl` below it.
pub(crate) fn files(simulator: &Simulator, job: &Job) -> Result<Vec<InputFile>, String> {
    let (objects, input) = (simulator.objects(), &job.input);
    if let Some(object) = objects.object(&input.bucket, &input.key).filter(|_| !input.key.ends_with('/')) {
        if !is_jsonl(&input.key) {
            return Err(format!("The input file {input} is invalid: the name of an input file must end with .jsonl."));
        }
        let name = input.key.rsplit('/').next().unwrap_or_default().to_owned();
        return Ok(vec![InputFile { key: input.key.clone(), name, bytes: object.length }]);
    }
    let folder = match input.key.trim_end_matches('/') {
        "" => String::new(),
        key => format!("{key}/"),
    };
    let found = objects.list(&input.bucket, &folder).into_iter().filter(|(key, _)| is_jsonl(key));
    let files: Vec<InputFile> =
        found.map(|(key, bytes)| InputFile { name: key[folder.len()..].to_owned(), key, bytes }).collect();
    if files.is_empty() {
        return Err(format!("No .jsonl files were found at the input location {input}."));
    }
    Ok(files)
}

fn is_jsonl(key: &str) -> bool {
    key.strip_suffix(".jsonl").is_some()
}

/// How many records a job has, or why it fails. Reads everything once.
pub(crate) async fn count(simulator: &Simulator, job: &Job, limits: Limits) -> Result<u64, String> {
    let files = files(simulator, job)?;
    sizes(job, &files, limits)?;
    let mut lines = Lines::new(&job.input.bucket, files);
    let (mut total, mut line) = (0_u64, Vec::new());
    loop {
        for _ in 0..SLICE {
            let name = lines.file().map_or_else(String::new, |file| file.name.clone());
            let next = lines
                .next(simulator, &mut line)
                .map_err(|error| format!("The input file {name} could not be read: {error}."))?;
            match next {
                Next::End => return within(job, total, limits),
                Next::FileEnd => {}
                Next::Line(number) => {
                    Record::read(&line).map_err(|error| {
                        format!("The input file {name} is invalid: line {number} is not a record in the correct format ({error}).")
                    })?;
                    total += 1;
                    if number > limits.max_file_records {
                        return Err(format!(
                            "The input file {name} contains more records than the maximum of: {}",
                            limits.max_file_records
                        ));
                    }
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

fn sizes(job: &Job, files: &[InputFile], limits: Limits) -> Result<(), String> {
    if let Some(file) = files.iter().find(|file| file.bytes > limits.max_file_bytes) {
        return Err(format!(
            "The input file {} is {} bytes long, more than the maximum of: {}",
            file.name, file.bytes, limits.max_file_bytes
        ));
    }
    let all: u64 = files.iter().map(|file| file.bytes).sum();
    if all > limits.max_job_bytes {
        return Err(format!(
            "Batch job {} contains {all} bytes, more than the maximum of: {}",
            job.arn, limits.max_job_bytes
        ));
    }
    Ok(())
}

fn within(job: &Job, total: u64, limits: Limits) -> Result<u64, String> {
    if total < limits.min_records {
        let min = limits.min_records;
        return Err(format!(
            "Batch job {} contains less records ({total}) than the required minimum of: {min}",
            job.arn
        ));
    }
    if total > limits.max_records {
        let max = limits.max_records;
        return Err(format!("Batch job {} contains more records ({total}) than the maximum of: {max}", job.arn));
    }
    Ok(total)
}
