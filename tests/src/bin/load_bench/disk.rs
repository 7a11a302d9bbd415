//! What the disk does without a daemon: 4 KiB appended to a file of its own, and synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// From one sync to the next of a [`Watch`]: what stands still for longer is seen. Commits wait for these syncs, too.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a second the disk takes 4 KiB for good.
pub(crate) fn rate(directory: &Path, time: Duration) -> Result<f64> {
    let mut file = open(directory)?;
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        append(&mut file)?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// Syncs now and then, while something else is measured.
pub(crate) struct Watch {
    /// Dropped to end it.
    stop: Sender<()>,
    thread: JoinHandle<io::Result<Duration>>,
}

impl Watch {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let (file, (stop, stopped)) = (open(directory)?, channel());
        Ok(Self { stop, thread: thread::spawn(move || longest(file, &stopped)) })
    }

    /// How long the disk took at most.
    pub(crate) fn end(self) -> Result<Duration> {
        drop(self.stop);
        Ok(self.thread.join().map_err(|_panic| anyhow!("what watches the disk failed"))??)
    }
}

fn longest(mut file: File, stopped: &Receiver<()>) -> io::Result<Duration> {
    let mut longest = Duration::ZERO;
    loop {
        let started = Instant::now();
        append(&mut file)?;
        longest = longest.max(started.elapsed());
        if stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
            return Ok(longest);
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(directory.join("yardstick"))
}

fn append(file: &mut File) -> io::Result<()> {
    file.write_all(&[7; 4_096])?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_syncs_until_it_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let started = Instant::now();

        let longest = Watch::start(directory.path()).unwrap().end().unwrap();

        assert!(longest > Duration::ZERO && longest <= started.elapsed());
        let size = directory.path().join("yardstick").metadata().unwrap().len();
        assert!(size >= 4_096 && size.is_multiple_of(4_096), "{size}");
    }
}
