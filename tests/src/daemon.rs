//! The real daemon, in a directory of its own, on a port of its own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "for tests only: a daemon that does not start ends its test"
)]

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::modules::module;

/// The daemon, built before, as the pipeline does once for all tests.
const BUILT: &str = "POSTRIDER_TEST_DAEMON";
/// A test that waits longer for one thing hangs.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A directory for one daemon at a time, with its plugins.
pub struct House(TempDir);

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
    url: String,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    pub fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(house.plugins()).unwrap();
        house
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn plugins(&self) -> PathBuf {
        self.0.path().join("data/plugins")
    }

    /// Puts a built module into the plugins directory, beside and then renamed.
    pub fn put_module(&self, guest: &str, name: &str) {
        self.put(&format!("{name}.wasm"), std::fs::read(module(guest)).unwrap());
    }

    /// Puts a file into the plugins directory, beside and then renamed.
    pub fn put(&self, file: &str, content: impl AsRef<[u8]>) {
        let beside = self.plugins().join(format!(".{file}.part"));
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.plugins().join(file)).unwrap();
    }

    /// Takes what another house's daemon has compiled. Before the first start.
    pub fn take_compiled(&self, other: &Self) {
        self.take_compiled_from(&other.compiled());
    }

    /// Takes compiled modules out of another cache. Before the first start.
    pub fn take_compiled_from(&self, cache: &Path) {
        // The cache takes a directory that is its owner's only.
        std::fs::DirBuilder::new().mode(0o700).create(self.compiled()).unwrap();
        for file in std::fs::read_dir(cache).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.compiled().join(file.file_name())).unwrap();
        }
    }

    fn compiled(&self) -> PathBuf {
        self.path().join("data/cache")
    }

    /// A command of the daemon's binary in this house, without settings from outside.
    pub fn command(&self) -> Command {
        self.command_of(binary())
    }

    /// A command of another program, as those of the daemon's.
    pub fn command_of(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let outside = std::env::vars_os().map(|(name, _)| name);
        for name in outside.filter(|name| name.to_string_lossy().starts_with("POSTRIDER_")) {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub async fn start(&self) -> Daemon {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        self.start_command(command).await
    }

    /// Starts a `serve` command and waits until it is ready.
    pub async fn start_command(&self, mut command: Command) -> Daemon {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let writing = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writing.lines.lock().unwrap().push(line);
                writing.more.notify_waiters();
            }
        });
        let mut daemon = Daemon { child, url: String::new(), log };
        let ready = daemon.line("ready at http://").await;
        let url = ready.split("ready at ").nth(1).unwrap().split([' ', '"']).next().unwrap();
        daemon.url = url.to_owned();
        daemon
    }

    /// Runs the binary to its end. Answers status, standard output and standard error.
    pub async fn run(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let mut command = self.command();
        let running = command.args(arguments).output();
        let output = timeout(PATIENCE, running).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }
}

impl Daemon {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its identity, as the attempts name it.
    pub fn host(&self) -> String {
        let log = self.log();
        let named = log.iter().find_map(|line| line.split_once(" host.id="));
        named.unwrap().1.split(' ').next().unwrap().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for a line of the log that contains `text`, and answers it.
    pub async fn line(&self, text: &str) -> String {
        let found = async {
            loop {
                let more = self.log.more.notified();
                let lines = self.log();
                if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                    return line.clone();
                }
                more.await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("no log line with {text:?} came:\n{}", self.log().join("\n")),
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Asks the API. Answers status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http().get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Sends a body to the API as it is. Answers status and JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = http().post(format!("{}{path}", self.url)).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Hands a notification in and answers its id.
    pub async fn enqueue(&self, body: &Value) -> String {
        let (status, answer) = self.post("/v1/notifications", body.to_string()).await;
        assert_eq!(status, 201, "{answer}");
        assert_ne!(answer.get("deliveries"), Some(&Value::from(0)), "nobody got {body}");
        answer.get("id").and_then(Value::as_str).unwrap().to_owned()
    }

    /// Asks until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asking = async {
            loop {
                ticks.tick().await;
                let (_, answer) = self.get(path).await;
                if wanted(&answer) {
                    return answer;
                }
            }
        };
        match timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                panic!("{path} stayed {:#}\n{}", self.get(path).await.1, self.log().join("\n"))
            }
        }
    }

    /// Waits until the queue is empty.
    pub async fn until_empty(&self) {
        self.until("/healthz", |health| {
            health.pointer("/details/queue_size").and_then(Value::as_u64) == Some(0)
        })
        .await;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub async fn end(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.end().await
    }

    /// SIGKILL, and waits for its end.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// One client for all requests of a process.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let _already = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
    })
}

/// The daemon's binary, built before or now.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(BUILT) {
        Some(built) => built.into(),
        None => crate::modules::daemon(),
    })
}
