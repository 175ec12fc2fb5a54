//! Records that are no part of a job: each is a request through the gateway's own routes, as its batch's caller.
//!
//! Few run at a time, so that interactive calls come first. Each answer is kept at once: whoever goes on after a crash
//! repeats those that were under way, and no others.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use tower::ServiceExt as _;

use super::batches::Batches;
use super::codec::{Codec, Line, Lost, Outcome};
use super::collect::{Index, Indexed, read_index};
use super::job::{self, Rest};
use super::layout::{self, ShardKeys};
use super::lines::{LineReader, MAX_LINE};
use super::queries::{self, Kept, Mine, Settled};
use super::record::{Batch, Endpoint, Invocation, Shard, ShardState};
use super::run::{Desk, View};
use super::writers::{Growing, Place, Then, Writers, objects, told};
use crate::error::{Error, Result};
use crate::money::MicroUsd;
use crate::tenancy::Caller;

/// Records of one shard that run at once.
const AT_ONCE: usize = 4;
/// Attempts at a record whose answer failed for a reason that may cost.
const ATTEMPTS: u32 = 3;
/// Pauses after an answer that says that there is no room.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Kept answers that are read at once.
const PAGE: u32 = 100;
/// The headers that a surface wants and a record does not have.
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const REQUEST_ID: &str = "x-request-id";
const COST: &str = "x-gateway-cost-usd";
const SHOULD_RETRY: &str = "x-should-retry";
const RETRY_AFTER: &str = "retry-after";

/// What is needed to run the records of a shard.
#[derive(Clone, Copy)]
struct Running<'a> {
    desk: &'a Desk,
    batch: &'a Batch,
    shard: &'a Shard,
    caller: &'a Caller,
    codec: &'a Codec,
    index: &'a Index,
}

/// A record, read.
struct Record {
    place: u64,
    body: Bytes,
}

impl Batches {
    /// Runs the records of a shard that have no answer yet, until all have one or nothing more is to begin.
    pub(super) async fn run_online(&self, desk: &Desk, view: &View, shard: &Shard) -> Result<()> {
        let View { batch, caller, .. } = view;
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        if shard.state == ShardState::Queued && !queries::start(self.store(), mine, shard.number, self.now()).await? {
            return Ok(());
        }
        let keys = self.keys(&batch.id).shard(shard.number);
        let objects = objects(self.gateway().upstream(), &shard.region)?;
        let index = read_index(&objects, shard, &keys).await?;
        let answers = queries::count_answers(self.store(), &batch.id, shard.number).await?;
        let mut failed = answers.iter().filter(|(_, status)| !is_good(*status)).count() as u64;
        let answered: HashSet<u64> = answers.into_iter().map(|(record, _)| record).collect();
        let mut done = answered.len() as u64;
        let running = Running { desk, batch, shard, caller, codec: self.codec(batch)?, index: &index };
        let mut under_way = FuturesUnordered::new();
        let mut noted = |status: Result<Option<u16>>| -> Result<(u64, u64)> {
            if let Some(status) = status? {
                done += 1;
                failed += u64::from(!is_good(status));
            }
            Ok((done, failed))
        };
        for (key, _) in layout::inputs(objects.list(&shard.bucket, &keys.inputs()).await.map_err(told)?) {
            let reading = objects.read(&shard.bucket, &key, None).await.map_err(told)?;
            let mut lines = LineReader::within(reading.map_err(told), MAX_LINE * 2, 0);
            while !desk.is_cut()
                && let Some(line) = lines.next().await?
            {
                let Some((place, body)) = line.bytes.and_then(layout::record) else { continue };
                if answered.contains(&place) {
                    continue;
                }
                let record = Record { place, body: Bytes::copy_from_slice(body) };
                under_way.push(self.run_record(running, record));
                while under_way.len() >= AT_ONCE
                    && let Some(status) = under_way.next().await
                {
                    let (done, failed) = noted(status)?;
                    queries::observe(self.store(), mine, shard.number, (None, done, failed)).await?;
                }
            }
        }
        while let Some(status) = under_way.next().await {
            let (done, failed) = noted(status)?;
            queries::observe(self.store(), mine, shard.number, (None, done, failed)).await?;
        }
        if !desk.is_cut() {
            queries::end(self.store(), mine, shard.number, (None, None), self.now()).await?;
        }
        Ok(())
    }

    /// Runs one record and keeps its answer: the status, or none where nothing more was to begin.
    async fn run_record(&self, running: Running<'_>, record: Record) -> Result<Option<u16>> {
        let Running { batch, shard, index, .. } = running;
        let Some(known) = usize::try_from(record.place).ok().and_then(|place| index.at(place)) else {
            return Err(Error::internal("a record of a shard is not in its index"));
        };
        let request = layout::request_id(&batch.id, known.offset);
        let Some(response) = self.answer(running, &record, &request).await else { return Ok(None) };
        let status = response.status().as_u16();
        let cost = response.headers().get(COST).and_then(|cost| MicroUsd::parse(cost.to_str().ok()?));
        let input = serde_json::from_slice::<&RawValue>(&record.body).ok();
        let outcome = Outcome::Answered { status, body: response.body() };
        let mut line = Vec::new();
        (running.codec.line)(&Line { id: known.id, request: &request, input, outcome }, &mut line);
        let line = String::from_utf8_lossy(&line).into_owned();
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        let kept = Kept { record: record.place, status, line, cost };
        queries::keep_answer(self.store(), mine, shard.number, &kept).await?;
        Ok(Some(status))
    }

    /// The last answer to a record; none where nothing more is to begin and it has none.
    async fn answer(&self, running: Running<'_>, record: &Record, request: &str) -> Option<Response<Bytes>> {
        let (mut costly, mut times) = (0, 0);
        loop {
            if running.desk.is_cut() {
                return None;
            }
            let answered = {
                let _place = self.crew().online.acquire().await;
                if running.desk.is_cut() {
                    return None;
                }
                match Self::request(running, record, request) {
                    Ok(request) => self.door().oneshot(request).await,
                    Err(error) => Err(error),
                }
            };
            let response = answered.unwrap_or_else(|error| failed(running.codec, &error, request));
            times += 1;
            let pause = match again(response.status().as_u16(), response.headers()) {
                Passing::No => return Some(response),
                Passing::MayCost if costly + 1 >= ATTEMPTS => return Some(response),
                Passing::MayCost => {
                    costly += 1;
                    None
                }
                Passing::NoRoom(after) => after,
            };
            let own = job::pause(times, PAUSES, fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(pause.unwrap_or_default().max(own)) => {}
                () = running.desk.cut_down() => return None,
            }
        }
    }

    /// The record as a client would send it.
    fn request(running: Running<'_>, record: &Record, request: &str) -> Result<Request<Bytes>> {
        let batch = running.batch;
        let path = match (batch.endpoint, batch.invocation) {
            (Endpoint::Native, invocation) => {
                let model = utf8_percent_encode(&running.shard.model, NON_ALPHANUMERIC);
                let operation = if invocation == Some(Invocation::Converse) { "converse" } else { "invoke" };
                format!("/model/{model}/{operation}")
            }
            (endpoint, _) => <&str>::from(endpoint).to_owned(),
        };
        let mut built =
            Request::post(path).header(CONTENT_TYPE, "application/json").header(REQUEST_ID, format!("req_{request}"));
        if batch.endpoint == Endpoint::Messages {
            let (name, value) = ANTHROPIC_VERSION;
            built = built.header(name, value);
        }
        built.extension(running.caller.clone()).body(record.body.clone()).map_err(Error::internal)
    }

    /// Writes the answers of a shard that ran online, and settles it. Each call has its own row in the ledger.
    pub(super) async fn collect_online(&self, view: &View, shard: &Shard) -> Result<()> {
        let batch = &view.batch;
        let keys = self.keys(&batch.id).shard(shard.number);
        let gateway = self.gateway();
        let index = read_index(&objects(gateway.upstream(), &shard.region)?, shard, &keys).await?;
        let mut results = Results::new(batch, shard, &keys, self.codec(batch)?);
        let mut writers = Writers::new(gateway.upstream());
        let mut pieces = Vec::new();
        let mut written = Vec::new();
        let mut next = 0;
        loop {
            let page = queries::kept_answers(self.store(), &batch.id, shard.number, (next, PAGE)).await?;
            let last = page.last().map(|kept| kept.record);
            for kept in page {
                results.lose(&index, next..kept.record, &mut pieces);
                next = kept.record + 1;
                results.keep(&kept, &mut pieces);
            }
            written.extend(writers.write(&mut pieces).await?);
            if last.is_none() {
                break;
            }
        }
        results.lose(&index, next..index.len() as u64, &mut pieces);
        let sums = results.end(&mut pieces);
        written.extend(writers.write(&mut pieces).await?);
        let of = |key: String| written.iter().filter(|segment| segment.key == key).cloned().collect::<Vec<_>>();
        let settled = Settled {
            number: shard.number,
            output: &of(keys.result()),
            errors: &of(keys.errors()),
            done: sums.done,
            failed: sums.failed,
            cancelled: sums.cancelled,
            expired: sums.expired,
            cost: sums.cost,
            unpriced: sums.unpriced,
            retry: None,
            at: self.now(),
        };
        self.settle(batch, settled).await
    }
}

/// What the lines of a shard come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    done: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
    cost: MicroUsd,
    unpriced: u64,
}

/// The result objects of a shard, while they are written.
struct Results<'a> {
    batch: &'a str,
    codec: &'a Codec,
    has_one_file: bool,
    why: (Lost, String),
    output: Option<Growing>,
    errors: Option<Growing>,
    sums: Sums,
    place: std::sync::Arc<Place>,
    keys: &'a ShardKeys,
}

impl<'a> Results<'a> {
    fn new(batch: &'a Batch, shard: &Shard, keys: &'a ShardKeys, codec: &'a Codec) -> Self {
        let why = match job::rest(batch, shard) {
            Rest::Lost(why, message) => (why, message),
            Rest::Retry => (Lost::NoResult, "There is no answer to this request.".to_owned()),
        };
        let place = Place { region: shard.region.clone(), bucket: shard.bucket.clone() };
        Self {
            batch: &batch.id,
            codec,
            has_one_file: batch.error_file.is_none(),
            why,
            output: None,
            errors: None,
            sums: Sums::default(),
            place: place.into(),
            keys,
        }
    }

    fn keep(&mut self, kept: &Kept, pieces: &mut Vec<super::plan::Piece>) {
        let is_good = is_good(kept.status);
        self.sums.done += 1;
        self.sums.failed += u64::from(!is_good);
        match kept.cost {
            Some(cost) => self.sums.cost += cost,
            None => self.sums.unpriced += u64::from(is_good),
        }
        self.append(is_good, |out| out.extend_from_slice(kept.line.as_bytes()), pieces);
    }

    /// Records without an answer.
    fn lose(&mut self, index: &Index, places: std::ops::Range<u64>, pieces: &mut Vec<super::plan::Piece>) {
        for place in places {
            let Some(known) = usize::try_from(place).ok().and_then(|place| index.at(place)) else { continue };
            self.lose_one(&known, pieces);
        }
    }

    fn lose_one(&mut self, known: &Indexed<'_>, pieces: &mut Vec<super::plan::Piece>) {
        self.sums.done += 1;
        self.sums.failed += 1;
        let (why, message) = self.why.clone();
        match why {
            Lost::BatchCancelled => self.sums.cancelled += 1,
            Lost::BatchExpired => self.sums.expired += 1,
            Lost::JobFailed | Lost::NoResult => {}
        }
        let request = layout::request_id(self.batch, known.offset);
        let outcome = Outcome::Lost { why, message: &message };
        let (codec, line) = (self.codec, Line { id: known.id, request: &request, input: None, outcome });
        self.append(false, |out| (codec.line)(&line, out), pieces);
    }

    fn append(&mut self, is_good: bool, write: impl FnOnce(&mut Vec<u8>), pieces: &mut Vec<super::plan::Piece>) {
        let goes_out = is_good || self.has_one_file;
        let (file, key) =
            if goes_out { (&mut self.output, self.keys.result()) } else { (&mut self.errors, self.keys.errors()) };
        file.get_or_insert_with(|| Growing::new(&self.place, &key)).append(write, pieces);
    }

    fn end(self, pieces: &mut Vec<super::plan::Piece>) -> Sums {
        for file in [self.output, self.errors].into_iter().flatten() {
            file.end(Then::Finish, pieces);
        }
        self.sums
    }
}

/// Whether the same may be answered otherwise in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// It may not.
    No,
    /// There was no room for it, and nothing was done; how long to wait, if that was said.
    NoRoom(Option<Duration>),
    /// It may, and what was done may have cost something.
    MayCost,
}

fn again(status: u16, headers: &HeaderMap) -> Passing {
    if headers.get(SHOULD_RETRY).is_some_and(|value| value == "false") {
        return Passing::No;
    }
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    match status {
        429 | 503 | 529 => Passing::NoRoom(after),
        408 | 424 | 500 | 504 => Passing::MayCost,
        _ => Passing::No,
    }
}

/// A failure without an answer, as the dialect says it.
fn failed(codec: &Codec, error: &Error, request: &str) -> Response<Bytes> {
    let (status, body) = (codec.error)(error, request);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_unless_the_answer_says_that_it_is_in_vain() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            headers
        };
        let none = HeaderMap::new();
        assert_eq!(again(200, &none), Passing::No);
        assert_eq!(again(400, &none), Passing::No);
        assert_eq!(again(429, &with(RETRY_AFTER, "7")), Passing::NoRoom(Some(Duration::from_secs(7))));
        assert_eq!(again(529, &none), Passing::NoRoom(None));
        assert_eq!(again(429, &with(SHOULD_RETRY, "false")), Passing::No);
        assert_eq!(again(500, &none), Passing::MayCost);
    }
}
