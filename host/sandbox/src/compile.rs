//! Machine code for a component, made in a child process: no setting of wasmtime bounds what compiling takes, and a
//! few hundred kilobytes can ask for minutes and gigabytes. The child has limits and a deadline, and one runs at a
//! time, below everything else in priority.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use crate::compile_child::{ARGUMENT, REFUSED};
use crate::load::LoadProblem;
use crate::text::one_line;

/// Memory of the child, in bytes of address space: JavaScript's interpreter, the largest guest known, takes a third.
const MEMORY: u64 = 2 << 30;
/// Processor time of the child: JavaScript takes 6 to 15 s.
const CPU: Duration = Duration::from_secs(120);
/// Wall-clock time of the child, on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(300);
/// Threads of the child: more of them only bring the memory limit nearer.
const MAX_THREADS: usize = 4;
/// Most machine code: a Python interpreter becomes 36 MB.
const MAX_CODE: u64 = 512 << 20;
/// What of the child's standard error is read.
const MAX_WORDS: u64 = 4 << 10;
/// Longest part of it in an error, in characters.
const MAX_SHOWN: usize = 300;

/// The program that compiles, and what it may use.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    /// Must call [`crate::compile_child()`] first of all.
    pub program: PathBuf,
    /// Address space in bytes.
    pub memory: u64,
    /// Processor time, in whole seconds.
    pub cpu: Duration,
    /// Wall-clock time.
    pub deadline: Duration,
}

impl Default for CompilerConfig {
    /// This program, also when its file was replaced since it started.
    fn default() -> Self {
        let program = PathBuf::from("/proc/self/exe");
        Self { program, memory: MEMORY, cpu: CPU, deadline: DEADLINE }
    }
}

/// The compiler of a sandbox.
pub(crate) struct Compiler {
    config: CompilerConfig,
    /// One at a time: each takes all that it may have.
    turn: Arc<Mutex<()>>,
}

/// What a child left when it ended.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    words: Vec<u8>,
}

impl Compiler {
    pub(crate) fn new(config: CompilerConfig) -> Self {
        Self { config, turn: Arc::default() }
    }

    /// Checks a file and compiles it. Dropping the future ends the child.
    pub(crate) async fn compile(&self, file: Bytes) -> Result<Vec<u8>, LoadProblem> {
        let turn = self.turn.clone().lock_owned().await;
        let config = self.config.clone();
        let (mut answer, compiled) = oneshot::channel();
        // A thread of its own, since the child dies with the thread that started it.
        let thread = std::thread::Builder::new().name("compile".to_owned()).spawn(move || {
            let _turn = turn;
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(answer.send(Err(host(&error)))),
            };
            let compiled = runtime.block_on(compile(&config, &file, answer.closed()));
            // Nobody waits any more where this fails.
            drop(answer.send(compiled));
        });
        thread.map_err(|error| host(&error))?;
        compiled.await.unwrap_or_else(|gone| Err(host(&io::Error::other(gone))))
    }
}

async fn compile(
    config: &CompilerConfig,
    file: &[u8],
    unwanted: impl Future<Output = ()>,
) -> Result<Vec<u8>, LoadProblem> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut child = Command::new(&config.program)
        .args(arguments(config))
        // Nothing of the daemon's environment, where secrets may stand.
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.min(MAX_THREADS).to_string())
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| host(&error))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let (_fed, output, words, status) = tokio::join!(
            feed(stdin, file),
            read(stdout, MAX_CODE),
            read(stderr, MAX_WORDS),
            child.wait()
        );
        Ok::<_, io::Error>(Ended { status: status?, output: output?, words: words? })
    };
    let talked = tokio::select! {
        talked = timeout(config.deadline, talk) => talked,
        () = unwanted => Ok(Err(io::Error::other("nobody waits for it any more"))),
    };
    let problem = match talked {
        Ok(Ok(ended)) => return verdict(ended, config),
        Ok(Err(error)) => host(&error),
        Err(_elapsed) => LoadProblem::CompileLimit { limit: format!("{:?}", config.deadline) },
    };
    // Waits for its end, so that no zombie stays.
    child.kill().await.map_err(|error| host(&error))?;
    Err(problem)
}

fn arguments(config: &CompilerConfig) -> [OsString; 4] {
    let numbers = [u64::from(std::process::id()), config.memory, config.cpu.as_secs()];
    let [parent, memory, cpu] = numbers.map(|number| number.to_string().into());
    [ARGUMENT.into(), parent, memory, cpu]
}

async fn feed(stdin: Option<ChildStdin>, file: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    // A child that ends early says why; the broken pipe does not.
    stdin.write_all(file).await?;
    stdin.shutdown().await
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn verdict(ended: Ended, config: &CompilerConfig) -> Result<Vec<u8>, LoadProblem> {
    let Ended { status, output, words } = ended;
    let words = one_line(&String::from_utf8_lossy(&words), MAX_SHOWN);
    if output.len() as u64 >= MAX_CODE {
        return Err(LoadProblem::CompileLimit {
            limit: format!("{MAX_CODE} bytes of machine code"),
        });
    }
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(output),
        (Some(code), _) if code == i32::from(REFUSED) => {
            Err(serde_json::from_slice(&output).unwrap_or_else(|error| host(&error)))
        }
        (_, Some(signal)) if signal == rustix::process::Signal::XCPU.as_raw() => {
            Err(LoadProblem::CompileLimit { limit: format!("{:?} of processor time", config.cpu) })
        }
        _ if words.contains("memory allocation of") || words.contains("annot allocate memory") => {
            let mib = config.memory >> 20;
            Err(LoadProblem::CompileLimit { limit: format!("{mib} MiB of memory") })
        }
        (_, Some(_)) | (Some(101), _) => Err(LoadProblem::Compile {
            detail: format!("the compiler crashed ({status}): {words}"),
        }),
        (Some(_) | None, None) => Err(LoadProblem::Host {
            detail: format!(
                "its compiler, a child process, ended with {status}; is {} the program that runs? {words}",
                config.program.display()
            ),
        }),
    }
}

fn host(error: &impl ToString) -> LoadProblem {
    let detail = format!("the compiler, a child process, cannot be used: {}", error.to_string());
    LoadProblem::Host { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw: i32, output: &[u8], words: &str) -> Result<Vec<u8>, LoadProblem> {
        let status = ExitStatus::from_raw(raw);
        let words = words.as_bytes().to_vec();
        verdict(Ended { status, output: output.to_vec(), words }, &CompilerConfig::default())
    }

    const fn exit(code: i32) -> i32 {
        code << 8
    }

    #[test]
    fn every_end_of_the_child_has_its_words() {
        assert_eq!(ended(0, b"code", ""), Ok(b"code".to_vec()));
        let empty = serde_json::to_vec(&LoadProblem::Empty).unwrap();
        assert_eq!(ended(exit(REFUSED.into()), &empty, ""), Err(LoadProblem::Empty));
        for (raw, words, said) in [
            (24, "", "120s of processor time"),
            (6, "memory allocation of 805306368 bytes failed", "2048 MiB of memory"),
            (exit(101), "failed to spawn: Cannot allocate memory", "2048 MiB of memory"),
            (exit(101), "thread 'main' panicked at x", "the compiler crashed (exit status: 101): "),
            (11, "", "the compiler crashed (signal: 11"),
            (exit(2), "error: unrecognized subcommand", "is /proc/self/exe the program that runs?"),
            (exit(REFUSED.into()), "", "a child process, cannot be used"),
        ] {
            let problem = ended(raw, b"", words).unwrap_err().to_string();
            assert!(problem.contains(said), "{raw}: {problem}");
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_start_is_the_hosts_fault() {
        let config = CompilerConfig { program: "/no/such/program".into(), ..Default::default() };
        let problem = Compiler::new(config).compile(Bytes::new()).await.unwrap_err();
        assert!(matches!(problem, LoadProblem::Host { .. }), "{problem}");
    }

    #[tokio::test]
    async fn a_child_that_never_ends_is_ended_at_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sleeper");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 3600\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&program, mode).unwrap();
        let deadline = Duration::from_millis(50);
        let config = CompilerConfig { program, deadline, ..Default::default() };
        let problem = Compiler::new(config).compile(Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(problem, LoadProblem::CompileLimit { limit: "50ms".to_owned() });
    }
}
