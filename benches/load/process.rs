//! The processes under test, and what `/proc` says of them and of the machine.

use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Result;

/// The unit of times in `/proc/stat` and `/proc/<pid>/stat`.
const TICK: Duration = Duration::from_millis(10);

/// A child process, killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child =
            command.spawn().map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Starts this program again with other arguments and reads from it the address it listens on.
    pub(crate) fn start_self(arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = Self::start(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = process.child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("{arguments:?} did not say where it listens"))?;
        Ok((process, address))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far of each thread it has.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut nanoseconds = HashMap::new();
        for task in read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            // A thread may end between the two reads; the moment it ran since the last reading is lost.
            let Ok(line) = read_to_string(task.path().join("schedstat")) else { continue };
            let ran = line.split_whitespace().next().ok_or("empty schedstat")?;
            nanoseconds.insert(task.file_name(), ran.parse()?);
        }
        Ok(Cpu { nanoseconds })
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kilobytes = field(&status, "VmRSS").and_then(|value| value.split_whitespace().next());
        Ok(kilobytes.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reading of a process's CPU time: nanoseconds by thread, which is far finer than the clock ticks of `stat`.
pub(crate) struct Cpu {
    nanoseconds: HashMap<std::ffi::OsString, u64>,
}

impl Cpu {
    /// What the process ran since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let ran = self.nanoseconds.iter().map(|(thread, now)| {
            let before = earlier.nanoseconds.get(thread).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        Duration::from_nanos(ran.sum())
    }
}

/// How many files this process, and so each of its children, may have open.
pub(crate) fn open_files() -> Result<usize> {
    let limits = read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of open files")?;
    Ok(line.split_whitespace().next().ok_or("empty limit")?.parse().unwrap_or(usize::MAX))
}

/// CPU time of everything on this machine since it started, what a hypervisor took away included.
pub(crate) fn machine_busy() -> Result<Duration> {
    let stat = read_to_string("/proc/stat")?;
    let total = stat.lines().next().ok_or("empty /proc/stat")?;
    let ticks: Vec<u32> = total.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; what follows is counted in `user` already.
    let busy = ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks);
    Ok(TICK * busy.sum::<u32>())
}

/// CPU time of process `id` since it started, that of threads which have ended included.
pub(crate) fn ran(id: u32) -> Result<Duration> {
    let stat = read_to_string(format!("/proc/{id}/stat"))?;
    // The second field, the name, is in brackets and may hold anything; utime and stime are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').ok_or("unreadable stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(TICK * ticks.sum::<Result<u32, _>>()?)
}

/// One line on the machine: processor, cores, kernel.
pub(crate) fn machine() -> Result<String> {
    let cpuinfo = read_to_string("/proc/cpuinfo")?;
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    let kernel = read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {cores} cores, Linux {}", kernel.trim()))
}

/// The value of `name: value` in a file of such lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}
