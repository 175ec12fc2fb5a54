//! A job in progress: record after record, a slice at a time, so that it can stand, be stopped and go on.

use std::io::{self, Write as _};

use serde_json::json;

use super::faults::{JobFault, Partial};
use super::lines::{Lines, Next};
use super::output::{Order, Output};
use super::record::{self, Answered, Record};
use super::{Counts, Job, JobState, SLICE, inspect};
use crate::simulator::Simulator;
use crate::simulator::calls::Tokens;

/// How a slice ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slice {
    More,
    /// It stands until it is told to go on, or was stopped.
    Stands,
    End(End),
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Stopped, or its time is up.
    Early,
    Failed {
        message: String,
        partial: Partial,
    },
}

/// What a job has done so far and has open.
#[derive(Debug)]
pub(crate) struct Run {
    lines: Lines,
    output: Option<Output>,
    order: Order,
    line: Vec<u8>,
    /// Records so far.
    index: u64,
    /// Lines of records that nobody asked for, still to be written.
    strangers: u64,
}

impl Run {
    pub(crate) fn begin(simulator: &Simulator, job: &Job) -> Result<Self, String> {
        let order = if job.faults.has(&JobFault::InOrder) { Order::AsRead } else { Order::Shuffled };
        let strangers = job.faults.find(|fault| if let JobFault::Add(count) = fault { Some(*count) } else { None });
        Ok(Self {
            lines: Lines::new(&job.input.bucket, inspect::files(simulator, job)?),
            output: None,
            order,
            line: Vec::new(),
            index: 0,
            strangers: strangers.unwrap_or_default(),
        })
    }

    /// Runs some records.
    pub(crate) fn slice(&mut self, simulator: &Simulator, job: &Job) -> Slice {
        for _ in 0..SLICE {
            if let Some(ended) = self.ends_here(job) {
                return ended;
            }
            match self.step(simulator, job) {
                Ok(true) => {}
                Ok(false) => return Slice::End(End::Done),
                Err(error) => {
                    let message = format!("The job could not read its input or write its output: {error}.");
                    return Slice::End(End::Failed { message, partial: Partial::Lost });
                }
            }
        }
        Slice::More
    }

    /// Whether it ends or stands before the next record.
    fn ends_here(&self, job: &Job) -> Option<Slice> {
        if job.state() != JobState::InProgress {
            return Some(Slice::Stands);
        }
        let ended = job.faults.find(|fault| match fault {
            JobFault::FailAfter { records, message, partial } if self.index >= *records => {
                Some(End::Failed { message: message.clone(), partial: *partial })
            }
            JobFault::PartialAfter { records } if self.index >= *records => Some(End::Early),
            _ => None,
        });
        ended.map(Slice::End).or_else(|| job.stands_at(self.index).then_some(Slice::Stands))
    }

    /// Whether there was anything left.
    fn step(&mut self, simulator: &Simulator, job: &Job) -> io::Result<bool> {
        let mut line = std::mem::take(&mut self.line);
        let next = match self.lines.file().map(|file| file.name.clone()) {
            None => Next::End,
            Some(name) => {
                if self.output.is_none() {
                    let key = format!("{}{name}.out", job.output_folder());
                    self.output = Some(Output::begin(simulator, (&job.output.bucket, &key), &name, self.order)?);
                }
                self.lines.next(simulator, &mut line)?
            }
        };
        match next {
            Next::End => return Ok(false),
            Next::FileEnd => self.close(simulator)?,
            Next::Line(_) => self.run(simulator, job, &line)?,
        }
        self.line = line;
        Ok(true)
    }

    fn run(&mut self, simulator: &Simulator, job: &Job, line: &[u8]) -> io::Result<()> {
        // It was a record when it was validated; whoever changes the object meanwhile gets an error.
        let record = Record::read(line).map_err(io::Error::other)?;
        let (index, id) = (self.index, record.id(self.index));
        let failed = simulator.jobs_kept().faults.error_of(&job.region, &job.id, (index, &id), record.input());
        let answered = match failed {
            Some(error) => Answered { output: Err(error), tokens: Tokens::default() },
            None => record::answer(simulator, job, record.input()),
        };
        self.index += 1;
        job.count(&answered);
        let Some(output) = &mut self.output else { return Ok(()) };
        if !job.faults.loses(index, &id) {
            output.push(answered.line(&id, record.input()))?;
        }
        if job.faults.repeats(index, &id) {
            output.push(answered.line(&id, record.input()))?;
        }
        while self.strangers > 0 {
            output.push(answered.line(&format!("stranger{:03}", self.strangers), record.input()))?;
            self.strangers -= 1;
        }
        Ok(())
    }

    fn close(&mut self, simulator: &Simulator) -> io::Result<()> {
        match self.output.take() {
            Some(output) => output.finish(simulator.now()),
            None => Ok(()),
        }
    }

    /// The output is there as far as it got, with a manifest unless the job failed or has none.
    pub(crate) fn end(&mut self, simulator: &Simulator, job: &Job, end: &End) -> io::Result<()> {
        match end {
            End::Failed { partial: Partial::Lost, .. } => {
                self.output = None;
                for (key, _) in simulator.objects().list(&job.output.bucket, &job.output_folder()) {
                    simulator.objects().delete(&job.output.bucket, &key);
                }
                return Ok(());
            }
            End::Failed { partial: Partial::Kept, .. } => return self.close(simulator),
            End::Done | End::Early => self.close(simulator)?,
        }
        if job.faults.has(&JobFault::NoManifest) {
            return Ok(());
        }
        let key = format!("{}manifest.json.out", job.output_folder());
        let mut manifest = simulator.objects().write(&job.output.bucket, &key)?;
        manifest.write_all(manifest_of(job).as_bytes())?;
        manifest.finish(simulator.now());
        Ok(())
    }
}

fn manifest_of(job: &Job) -> String {
    let (Counts { total, processed, succeeded, failed }, tokens) = job.done();
    json!({
        "totalRecordCount": total,
        "processedRecordCount": processed,
        "successRecordCount": succeeded,
        "errorRecordCount": failed,
        "inputTokenCount": tokens.input + tokens.cache_read + tokens.cache_write,
        "outputTokenCount": tokens.output,
    })
    .to_string()
}
