//! The program as the operating system has it: without files left, and told to end before it has begun.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::support::calls::chat;
use crate::support::{eventually, within};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bedrock-gateway");

/// A process that ends with the test, and its folder.
struct Program {
    child: Child,
    folder: TempDir,
}

impl Program {
    /// Runs `command` in a folder of its own that has these settings.
    fn start(mut command: Command, settings: &str) -> Self {
        let folder = TempDir::with_prefix("bedrock-gateway-program-").unwrap();
        fs::write(folder.path().join("gateway.toml"), settings).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.args(["--config", "gateway.toml"]).current_dir(folder.path()).env_clear();
        for setting in ["LISTEN", "OPS_LISTEN"] {
            command.env(format!("BEDROCK_GATEWAY__SERVER__{setting}"), "127.0.0.1:0");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Ends it as an administrator does, and waits; the exit code.
    async fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        eventually("it ends", async || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_files_nobody_is_let_in_until_there_are_some_again_and_it_is_said_once() {
    const MESSAGE: &str = "connections cannot be accepted";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\"", PROGRAM, "serve", "--local"]);
    let mut program = Program::start(command, "[server]\nmax_connections = 1000\n");
    let mut said = BufReader::new(program.child.stdout.take().unwrap()).lines();
    let mut after = |name: &str| {
        let line = said.by_ref().map(Result::unwrap).find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let (base, key) = (after("base URL"), after("key"));
    let address = base.trim_start_matches("http://").trim_end_matches("/v1");

    let mut connections = Vec::new();
    eventually("there are no files left", async || {
        connections.push(TcpStream::connect(address).await.unwrap());
        program.log().contains(MESSAGE)
    })
    .await;
    assert!(connections.len() > 10, "{}", connections.len());
    // One that waits is let in when another goes, and then there are none again.
    for _ in 0..3 {
        drop(connections.pop());
    }
    drop(connections);
    let client = reqwest::Client::new();
    eventually("it is served", async || {
        let request = client.post(format!("{base}/chat/completions")).bearer_auth(&key).json(&chat("hello"));
        request.send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert_eq!(program.log().matches(MESSAGE).count(), 1, "{}", program.log());
    assert_eq!(program.terminate().await, Some(0), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_signal_during_the_start_ends_it_well_and_leaves_nothing_behind() {
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://nobody:nothing@{}/nowhere", store.local_addr().unwrap());
    let mut command = Command::new(PROGRAM);
    command.arg("serve");
    let mut program = Program::start(command, &format!("[store]\nurl = \"{url}\"\n"));
    // It waits for an answer that does not come.
    let (_silent, _) = within(store.accept()).await.unwrap();
    assert_eq!(program.terminate().await, Some(0), "{}", program.log());
    let log = program.log();
    assert!(log.contains("told to stop before it was ready") && !log.contains("\"ready\""), "{log}");
    let mut left: Vec<_> = fs::read_dir(program.folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["gateway.toml", "log"]);
}
