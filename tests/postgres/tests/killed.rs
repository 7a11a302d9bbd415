//! Whoever kills a test leaves no server behind.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postrider_test_postgres::{Cluster, Settings};
use rustix::process::{Pid, Signal, kill_process_group};

/// In the environment of this very binary, started again as the test that is killed.
const VICTIM: &str = "POSTRIDER_TEST_POSTGRES_VICTIM";
/// Before what the victim says on standard output.
const SAID: &str = "cluster: ";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_killed_test_leaves_nothing() {
    leaves_nothing("a_killed_test_leaves_nothing", Signal::KILL, |_| ());
}

#[test]
fn a_terminated_test_leaves_nothing_of_a_paused_cluster() {
    let name = "a_terminated_test_leaves_nothing_of_a_paused_cluster";
    leaves_nothing(name, Signal::TERM, |cluster| cluster.pause().unwrap());
}

/// Runs the test `name` again as a victim, in a process group of its own, and ends the group, as nextest does.
fn leaves_nothing(name: &str, signal: Signal, prepare: impl FnOnce(&Cluster)) {
    if std::env::var_os(VICTIM).is_some() {
        be_killed(prepare);
    }
    if Cluster::start_or_skip(Settings::quick()).is_none() {
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find_map(|line| Some(line.split_once(SAID)?.1.to_owned())).unwrap();
    let (pid, directory) = said.split_once(' ').unwrap();
    let (server, directory) = (Path::new("/proc").join(pid), Path::new(directory));
    assert!(server.exists() && directory.exists(), "{said}");

    kill_process_group(Pid::from_child(&victim), signal).unwrap();
    victim.wait().unwrap();

    let end = Instant::now() + PATIENCE;
    while server.exists() || directory.exists() {
        assert!(Instant::now() < end, "{said} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn be_killed(prepare: impl FnOnce(&Cluster)) -> ! {
    let cluster = Cluster::start(Settings::quick()).unwrap();
    prepare(&cluster);
    println!("{SAID}{} {}", cluster.pid().unwrap(), cluster.directory().display());
    loop {
        std::thread::park();
    }
}
