//! Figures, and the yardsticks they stand beside.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Times of many requests, in order.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn part(&self, share: f64) -> Duration {
        let place = (self.0.len() as f64 * share) as usize;
        self.0[place.min(self.0.len() - 1)]
    }

    pub(crate) fn middle(&self) -> Duration {
        self.part(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.part(0.99)
    }
}

/// One line: what, how much, its goal, and whether it is met.
pub(crate) fn line(what: &str, figure: &str, goal: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("{what:<58} {figure:>34}   goal {goal:<22} {verdict}");
}

/// A line without a goal.
pub(crate) fn note(what: &str, figure: &str) {
    println!("{what:<58} {figure:>34}");
}

/// Processors and load, so that others can judge the figures.
pub(crate) fn machine() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    note("processors; load over 1, 5 and 15 minutes", &format!("{processors}; {}", load.join(" ")));
}

/// How many times a second this disk takes 4 KiB for good: the floor under every commit.
pub(crate) fn commits(directory: &Path) -> f64 {
    const TIMES: u32 = 200;
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).open(directory.join("floor")).unwrap();
    let started = Instant::now();
    for _ in 0..TIMES {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    let rate = f64::from(TIMES) / started.elapsed().as_secs_f64();
    note("yardstick: 4 KiB appended and synced, one by one", &format!("{rate:.0}/s"));
    rate
}

/// A process' resident memory in MiB.
pub(crate) fn resident(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
