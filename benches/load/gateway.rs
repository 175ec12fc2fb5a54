//! The gateway as a user runs it: its binary, a configuration file, a store, a key made by its own command line.

use std::fs::{File, read_to_string, write};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::process::Process;

/// Everything the gateway needs to be started, as often as wanted.
pub(crate) struct Installation {
    binary: PathBuf,
    folder: TempDir,
    ops: SocketAddr,
    /// Where it serves clients.
    pub(crate) listen: SocketAddr,
    /// A key for `inference`.
    pub(crate) key: String,
}

impl Installation {
    /// Writes the configuration and makes a team and a key.
    pub(crate) fn prepare(binary: &Path, upstream: SocketAddr) -> Result<Self> {
        let folder = TempDir::with_prefix("bedrock-gateway-bench-")?;
        let [listen, ops] = free_ports()?;
        let store = folder.path().join("bench.db");
        // The control endpoint answers 404: nothing here may depend on, or wait for, a host beyond this machine.
        let config = format!(
            "[server]\nlisten = \"{listen}\"\nops_listen = \"{ops}\"\n\
             [store]\nurl = \"sqlite://{}\"\n\
             [aws]\nregions = [\"us-east-1\"]\n\
             [aws.endpoints.us-east-1]\nruntime = \"http://{upstream}\"\ncontrol = \"http://{upstream}\"\n",
            store.display(),
        );
        write(folder.path().join("bench.toml"), config)?;
        let mut installation = Self { binary: binary.to_owned(), folder, ops, listen, key: String::new() };
        installation.administer(&["teams", "create", "bench"])?;
        installation.key = installation.administer(&["keys", "create", "--team", "bench", "--name", "bench"])?;
        Ok(installation)
    }

    /// Starts it; how long it took until `/readyz` said yes.
    pub(crate) fn start(&self) -> Result<(Process, Duration)> {
        let log = self.folder.path().join("gateway.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let started = Instant::now();
        let mut process =
            Process::start(self.command(&["serve"]).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output))?;
        while !is_ready(self.ops) {
            if process.has_ended()? || started.elapsed() > Duration::from_secs(20) {
                let log = read_to_string(log)?;
                return Err(format!("the gateway did not become ready; its last words:\n{}", tail(&log)).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((process, started.elapsed()))
    }

    /// Runs one administrative command; the last line it printed.
    fn administer(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{arguments:?} failed ({}): {}", output.status, tail(&error)).into());
        }
        let printed = String::from_utf8(output.stdout)?;
        let last = printed.lines().last().map(str::trim).filter(|line| !line.is_empty());
        Ok(last.ok_or_else(|| format!("{arguments:?} printed nothing"))?.to_owned())
    }

    /// The binary with our configuration, and no setting of whoever runs this.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("bench.toml"))
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }
}

/// Two ports that nobody listened on a moment ago.
fn free_ports() -> Result<[SocketAddr; 2]> {
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([first.local_addr()?, second.local_addr()?])
}

fn is_ready(ops: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(ops) else { return false };
    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut status = [0; 12];
    socket.write_all(request).is_ok() && socket.read_exact(&mut status).is_ok() && status.ends_with(b" 200")
}

/// The end of a log, short enough for an error message.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
}
