//! The run: which measure is taken when, floor and gateway in turn.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Result;
use crate::calls::{self, Call, Pair};
use crate::gateway::Installation;
use crate::generator::{self, Load, OpenStream, Until};
use crate::plan::{Options, Plan};
use crate::process::{self, Process};
use crate::report::{Row, Samples, Target, markdown};
use crate::upstream::{Gap, Pace, STREAM_PATH};

/// Callers of a closed loop: enough to keep two cores busy, few enough to leave every answer a caller waiting.
const CALLERS: u64 = 16;
/// Streams open together while the cost of one event is measured.
const PACED_STREAMS: u64 = 64;
/// Between two events of a paced stream: a fast model.
const PACED_GAP_MS: u64 = 8;

/// A process under test.
struct Side {
    process: Process,
    target: Arc<generator::Target>,
    call: fn(&Pair) -> &Call,
}

/// The processes, and what was measured of them so far.
struct Bench {
    plan: Plan,
    upstream: Arc<generator::Target>,
    floor: Side,
    gateway: Option<Side>,
    rows: Vec<Row>,
    upstream_process: Process,
}

/// Takes every measure and prints the table to standard output.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let machine = process::machine()?;
    let (upstream_process, upstream) = Process::start_self(&["upstream"])?;
    let (floor, floor_address) = Process::start_self(&["floor", &upstream.to_string()])?;
    let plan = Plan::of(options);
    let mut rows = Vec::new();
    let installation =
        if options.without_gateway { None } else { Some(Installation::prepare(&options.gateway, upstream)?) };
    let mut gateway = None;
    if let Some(installation) = &installation {
        let process = start_gateway(installation, plan.starts, &mut rows)?;
        let target = generator::Target::new(installation.listen, Some(&installation.key))?;
        gateway = Some(Side { process, target, call: |pair| &pair.gateway });
    }
    let floor = Side { process: floor, target: generator::Target::new(floor_address, None)?, call: |pair| &pair.floor };
    let upstream = generator::Target::new(upstream, None)?;
    let mut bench = Bench { plan, upstream, floor, gateway, rows, upstream_process };
    let (started, busy) = (Instant::now(), bench.foreign_cpu()?);
    bench.memory_idle()?;
    bench.check_answers().await?;
    for &count in &options.streams {
        bench.memory_of_streams(count).await?;
    }
    let saturation = bench.cost_of_requests().await?;
    bench.cost_of_events().await?;
    bench.latency(options.rate.unwrap_or(saturation / 2.0)).await?;
    let cores = std::thread::available_parallelism()?.get();
    let foreign =
        (bench.foreign_cpu()?.saturating_sub(busy)).div_duration_f64(started.elapsed()) / float(cores.try_into()?);
    if let Some(installation) = &installation {
        bench.soak(installation).await?;
    }
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let (rounds, round) = (bench.plan.rounds, bench.plan.round.as_millis());
    let table = markdown(&bench.rows);
    writeln!(
        std::io::stdout(),
        "\n{date}; {machine}, of which {:.0} % went to other work; {rounds} rounds of {round} ms.\n\n{table}",
        foreign * 100.0,
    )?;
    Ok(())
}

/// Starts the gateway several times and leaves the last one running.
fn start_gateway(installation: &Installation, starts: usize, rows: &mut Vec<Row>) -> Result<Process> {
    progress("start to ready")?;
    let (mut process, first) = installation.start()?;
    let mut taken = vec![milliseconds(first)];
    for _ in 1..starts {
        drop(process);
        let (next, time) = installation.start()?;
        process = next;
        taken.push(milliseconds(time));
    }
    let measure = "start to ready".into();
    rows.push(Row {
        measure,
        unit: "ms",
        floor: Samples::default(),
        gateway: Samples(taken),
        target: Target::Most(300.0),
    });
    Ok(process)
}

impl Bench {
    fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.floor).chain(&self.gateway)
    }

    /// CPU time so far of all that is not part of this run.
    fn foreign_cpu(&self) -> Result<Duration> {
        let ours = self.sides().map(|side| &side.process).chain([&self.upstream_process]).map(Process::id);
        let ours = ours.chain([std::process::id()]).map(process::ran).sum::<Result<Duration>>()?;
        Ok(process::machine_busy()?.saturating_sub(ours))
    }

    /// A row from what each side gave, floor first.
    fn record(&mut self, measure: impl Into<String>, unit: &'static str, samples: Vec<Samples>, target: Target) {
        let mut samples = samples.into_iter();
        let (floor, gateway) = (samples.next().unwrap_or_default(), samples.next().unwrap_or_default());
        self.rows.push(Row { measure: measure.into(), unit, floor, gateway, target });
    }

    async fn set_pace(&self, deltas: usize, gap: Gap) -> Result<Pace> {
        let pace = Pace { deltas, gap };
        let body = serde_json::to_vec(&pace)?.into();
        self.upstream.exchange(&Call { path: STREAM_PATH.into(), body }).await?;
        Ok(pace)
    }

    /// Nothing is worth measuring that does not come out right: every call once, and the text of the answer in it.
    async fn check_answers(&self) -> Result<()> {
        progress("answers")?;
        self.set_pace(20, Gap::Flush).await?;
        let whole = [calls::chat(1_000), calls::chat(50_000), calls::native("converse", 1_000), calls::invoke(1_000)];
        for pair in whole.into_iter().chain([calls::messages(1_000), calls::messages(50_000)]) {
            for side in self.sides() {
                expect(&side.target.exchange((side.call)(&pair)).await?, "A model would have written", 9)?;
            }
        }
        for pair in [calls::chat_stream(1_000), calls::native("converse-stream", 1_000)] {
            for side in self.sides() {
                expect(&side.target.exchange((side.call)(&pair)).await?, "twenty characters..", 20)?;
            }
        }
        // What the floor forwards is base64.
        let pair = calls::messages_stream(1_000);
        for side in self.sides().skip(1) {
            expect(&side.target.exchange((side.call)(&pair)).await?, "twenty characters..", 20)?;
        }
        Ok(())
    }

    fn memory_idle(&mut self) -> Result<()> {
        let resident = self.sides().map(resident_mb).collect::<Result<_>>()?;
        self.record("resident memory, idle", "MB", resident, Target::None);
        Ok(())
    }

    async fn memory_of_streams(&mut self, count: usize) -> Result<()> {
        // Two sockets for every stream in the proxy; the rest of a process needs a few as well.
        let count = count.min((process::open_files()? / 2).saturating_sub(100));
        progress(&format!("{count} open streams"))?;
        let pair = calls::chat_stream(1_000);
        let mut resident = Vec::new();
        for side in self.sides() {
            self.set_pace(20, Gap::Hold).await?;
            let streams = side.target.open_streams((side.call)(&pair), count).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            resident.push(resident_mb(side)?);
            self.set_pace(20, Gap::Flush).await?;
            try_join_all(streams.into_iter().map(OpenStream::finish)).await?;
        }
        let target = match count {
            1_000 => Target::Most(80.0),
            // 10,000, or as good as that where `ulimit -n` allows no more.
            9_500..=10_000 => Target::Most(500.0),
            _ => Target::None,
        };
        self.record(format!("resident memory, {count} open streams"), "MB", resident, target);
        Ok(())
    }

    /// CPU of one answer that is not streamed, the cores kept busy; the requests a second that the slower side answered
    /// at 1 KB.
    async fn cost_of_requests(&mut self) -> Result<f64> {
        let until = Until::Elapsed(self.plan.round);
        let few = Target::Ratio { most: 3.0, aim: 2.0 };
        let many = Target::Ratio { most: 3.0, aim: 3.0 };
        let (small, rates) = self.rounds(&calls::chat(1_000), CALLERS, until, 1).await?;
        self.record("CPU per request, chat 1 KB", "µs", small, few);
        let saturation = rates.iter().filter_map(Samples::median).fold(f64::INFINITY, f64::min);
        self.record("answers a second, chat 1 KB", "/s", rates, Target::None);
        let (large, _) = self.rounds(&calls::chat(50_000), CALLERS, until, 1).await?;
        self.record("CPU per request, chat 50 KB", "µs", large, many);
        let (native, _) = self.rounds(&calls::native("converse", 1_000), CALLERS, until, 1).await?;
        self.record("CPU per request, Bedrock converse 1 KB", "µs", native, Target::None);
        let (invoke, _) = self.rounds(&calls::invoke(1_000), CALLERS, until, 1).await?;
        self.record("CPU per request, Bedrock invoke 1 KB", "µs", invoke, Target::None);
        for (size, name) in [(1_000, "1 KB"), (50_000, "50 KB")] {
            let (messages, _) = self.rounds(&calls::messages(size), CALLERS, until, 1).await?;
            self.record(format!("CPU per request, Claude by messages {name}"), "µs", messages, Target::None);
        }
        Ok(saturation)
    }

    /// CPU of one event of a stream: as a model sends them, and as fast as they can be written.
    async fn cost_of_events(&mut self) -> Result<()> {
        let target = Target::Ratio { most: 2.0, aim: 1.5 };
        let (chat, native) = (calls::chat_stream(1_000), calls::native("converse-stream", 1_000));
        let paced = self.set_pace(self.plan.paced_deltas, Gap::Milliseconds(PACED_GAP_MS)).await?;
        let once = Until::Requests(PACED_STREAMS);
        let (samples, _) = self.rounds(&chat, PACED_STREAMS, once, paced.frames()).await?;
        self.record(format!("CPU per event, chat stream, {PACED_GAP_MS} ms apart"), "µs", samples, target);
        let (samples, _) = self.rounds(&native, PACED_STREAMS, once, paced.frames()).await?;
        self.record(format!("CPU per event, Bedrock stream, {PACED_GAP_MS} ms apart"), "µs", samples, target);
        let messages = calls::messages_stream(1_000);
        let (samples, _) = self.rounds(&messages, PACED_STREAMS, once, paced.frames()).await?;
        self.record(format!("CPU per event, Claude messages stream, {PACED_GAP_MS} ms apart"), "µs", samples, target);
        let burst = self.set_pace(496, Gap::Flush).await?;
        let (samples, _) = self.rounds(&chat, CALLERS, Until::Elapsed(self.plan.round), burst.frames()).await?;
        self.record("CPU per event, chat stream, unpaced", "µs", samples, Target::None);
        Ok(())
    }

    /// CPU-µs per unit, and requests a second, of each side in every round. A side is charged until its next turn, so
    /// that what it writes behind counts; each request is `units` units.
    async fn rounds(
        &self,
        pair: &Pair,
        concurrency: u64,
        until: Until,
        units: usize,
    ) -> Result<(Vec<Samples>, Vec<Samples>)> {
        let path = &(self.sides().last().unwrap_or(&self.floor).call)(pair).path;
        progress(&format!("{path}, {} bytes, {concurrency} callers", pair.gateway.body.len()))?;
        for side in self.sides() {
            let warm_up = Until::Elapsed(self.plan.warm_up);
            side.target.closed_loop((side.call)(pair), concurrency, warm_up).await?;
        }
        let mut costs: Vec<Samples> = self.sides().map(|_| Samples::default()).collect();
        let mut rates = costs.clone();
        let mut turns = Vec::new();
        for _ in 0..self.plan.rounds {
            for side in self.sides() {
                let before = side.process.cpu()?;
                let load = side.target.closed_loop((side.call)(pair), concurrency, until).await?;
                turns.push((before, load));
            }
            if self.gateway.is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        tokio::time::sleep(self.plan.round.min(Duration::from_secs(1))).await;
        let sides: Vec<&Side> = self.sides().collect();
        for (turn, (before, load)) in turns.iter().enumerate() {
            let index = turn % sides.len();
            let after = match turns.get(turn + sides.len()) {
                Some((next, _)) => next,
                None => &sides[index].process.cpu()?,
            };
            costs[index].0.push(microseconds(after.since(before)) / (float(load.requests) * float(units.try_into()?)));
            rates[index].0.push(load.rate());
        }
        Ok((costs, rates))
    }

    /// What a side adds to the time of a request that goes straight to the upstream, at a rate it can keep.
    async fn latency(&mut self, rate: f64) -> Result<()> {
        progress(&format!("latency at {rate:.0} requests a second"))?;
        let pair = calls::chat(1_000);
        let gap = Duration::from_secs_f64(1.0 / rate);
        let count = self.sides().count();
        let [mut p50, mut p99, mut cpu] = [(); 3].map(|()| vec![Samples::default(); count]);
        let mut direct = (Samples::default(), Samples::default());
        for _ in 0..self.plan.rounds {
            let base = self.upstream.open_loop(&pair.floor, gap, self.plan.round).await?;
            direct.0.0.push(microseconds(base.p50));
            direct.1.0.push(microseconds(base.p99));
            for (index, side) in self.sides().enumerate() {
                let before = side.process.cpu()?;
                let latency = side.target.open_loop((side.call)(&pair), gap, self.plan.round).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                p50[index].0.push(microseconds(latency.p50) - microseconds(base.p50));
                p99[index].0.push(microseconds(latency.p99) - microseconds(base.p99));
                cpu[index].0.push(microseconds(side.process.cpu()?.since(&before)) / float(latency.requests));
            }
        }
        let at = |percentile, direct: &Samples| {
            let direct = direct.median().unwrap_or_default();
            format!("added {percentile}, chat 1 KB at {rate:.0}/s (direct: {direct:.0} µs)")
        };
        self.record(at("p50", &direct.0), "µs", p50, Target::None);
        self.record(at("p99", &direct.1), "µs", p99, Target::Most(1_000.0));
        self.record(format!("CPU per request, chat 1 KB at {rate:.0}/s"), "µs", cpu, Target::None);
        Ok(())
    }

    /// The gateway's memory over many requests: what it grew by after the first fifth, when every pool is filled. A new
    /// process: in an old one a leak could hide in what the open streams left behind.
    async fn soak(&mut self, installation: &Installation) -> Result<()> {
        let Some(side) = self.gateway.take() else { return Ok(()) };
        progress(&format!("memory over {} requests", self.plan.soak))?;
        drop(side.process);
        let (process, _) = installation.start()?;
        let pair = calls::chat(1_000);
        let mut resident = Vec::new();
        for part in [self.plan.soak / 5, self.plan.soak - self.plan.soak / 5] {
            side.target.closed_loop(&pair.gateway, CALLERS, Until::Requests(part)).await?;
            resident.push(megabytes(process.resident()?));
        }
        let (before, after) = (resident[0], resident[1]);
        let measure = |name| format!("resident memory after {} requests, {name}", self.plan.soak);
        let (total, growth) = (measure("total"), measure("growth since the first fifth"));
        self.record(total, "MB", vec![Samples::default(), Samples(vec![after])], Target::None);
        self.record(growth, "MB", vec![Samples::default(), Samples(vec![after - before])], Target::Most(2.0));
        Ok(())
    }
}

impl Load {
    fn rate(self) -> f64 {
        float(self.requests) / self.elapsed.as_secs_f64()
    }
}

fn expect(body: &[u8], text: &str, times: usize) -> Result<()> {
    let found = String::from_utf8_lossy(body).matches(text).count();
    if found == times {
        return Ok(());
    }
    Err(format!("expected {text:?} {times} times, found it {found} times in: {}", String::from_utf8_lossy(body)).into())
}

fn resident_mb(side: &Side) -> Result<Samples> {
    Ok(Samples(vec![megabytes(side.process.resident()?)]))
}

/// A line on standard error: what is being measured.
fn progress(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "- {text}")?)
}

fn megabytes(bytes: u64) -> f64 {
    float(bytes) / 1e6
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
