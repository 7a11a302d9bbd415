//! The child process that compiles one file: bytes in on standard input, machine code out on standard output.
//!
//! It limits itself before it reads anything, and dies with the thread that started it.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::component::{self, MAX_FILE};
use crate::engine;
use crate::load::LoadProblem;

/// First argument of the child; its parent's id, its memory in bytes and its processor time in seconds follow.
pub(crate) const ARGUMENT: &str = "compile-child";
/// Exit code of a file that is no plugin; why stands on standard output.
pub(crate) const REFUSED: u8 = 3;
/// Exit code of a child that cannot work as it should.
const UNFIT: u8 = 4;
/// How far below the daemon it runs: deliveries come first.
const NICENESS: i32 = 10;
/// Seconds between the signal that says "time is up" and the one that cannot be ignored.
const CPU_GRACE: u64 = 5;

/// Whether this process was started as a compiler. Then it compiles, and its exit code is the answer: to be called
/// before anything else, such as a runtime's threads.
pub fn compile_child() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let numbers: Vec<u64> = arguments.filter_map(|text| number(&text)).collect();
    let done = match numbers.as_slice() {
        [parent, memory, cpu] => confine(*parent, *memory, *cpu).and_then(|()| work()),
        _ => Err(io::Error::other("it is for the daemon's own use")),
    };
    Some(done.unwrap_or_else(|error| {
        // Nobody reads it where this fails.
        let _unread = writeln!(io::stderr(), "{ARGUMENT}: {error}").is_err();
        ExitCode::from(UNFIT)
    }))
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

fn confine(parent: u64, memory: u64, cpu: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before.
        let alive =
            getppid().is_some_and(|pid| u64::from(pid.as_raw_pid().unsigned_abs()) == parent);
        if !alive {
            return Err(io::Error::other("whoever started it is gone"));
        }
    }
    limit(Resource::As, memory, 0)?;
    limit(Resource::Cpu, cpu, CPU_GRACE)?;
    limit(Resource::Core, 0, 0)?;
    // It writes to pipes only.
    limit(Resource::Fsize, 0, 0)?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}

/// Sets a limit, or leaves a lower one.
fn limit(resource: Resource, value: u64, grace: u64) -> io::Result<()> {
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let (current, maximum) = (value.min(ceiling), value.saturating_add(grace).min(ceiling));
    let limits = Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(resource, limits).map_err(io::Error::from)
}

fn work() -> io::Result<ExitCode> {
    let mut file = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(most).read_to_end(&mut file)?;
    let (code, output) = match compile(&file) {
        Ok(machine_code) => (ExitCode::SUCCESS, machine_code),
        Err(problem) => (ExitCode::from(REFUSED), serde_json::to_vec(&problem)?),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&output)?;
    stdout.flush()?;
    Ok(code)
}

fn compile(file: &[u8]) -> Result<Vec<u8>, LoadProblem> {
    let component = component::read(file)?;
    let failed = |error: wasmtime::Error| LoadProblem::Compile { detail: format!("{error:#}") };
    engine::compiler().map_err(failed)?.precompile_component(&component).map_err(failed)
}
