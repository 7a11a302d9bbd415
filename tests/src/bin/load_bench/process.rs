//! What a process used, by the kernel's account.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What one of the kernel's ticks is in `/proc/PID/stat`, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads of a process, also of those that ended, and not of its children.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    TICK * ticks(&stat).unwrap()
}

/// Processor time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

/// Processor time of all threads of this process.
pub(crate) fn process_cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// The clock that all processes of the machine share, in nanoseconds.
pub(crate) fn now() -> u64 {
    clock(ClockId::Monotonic).as_nanos() as u64
}

/// Forgets the largest resident memory so far.
pub(crate) fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// The largest resident memory since the start or the reset, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    peak(&status).unwrap()
}

fn clock(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn ticks(stat: &str) -> Option<u32> {
    // The name of the program stands in parentheses and may hold any character.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(ticks()? + ticks()?)
}

fn peak(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_user_and_kernel_mode_is_added_up() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 9 9 20 0 5 0 1 2 3";
        assert_eq!(ticks(stat), Some(175));
        assert!(ticks("7 (a) S 1").is_none());
    }

    #[test]
    fn the_peak_is_told_in_mebibytes() {
        assert_eq!(peak("VmPeak:\t 9 kB\nVmHWM:\t   2560 kB\nVmRSS:\t 1 kB"), Some(2.5));
        assert!(peak("VmRSS: 1 kB").is_none());
    }
}
