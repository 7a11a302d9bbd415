//! What is looked at once more after it was used: one thing at a time, and with time that nobody else wants.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Of the thread that looks: it gives way to everything else.
const NICENESS: i32 = 19;
/// What may wait to be looked at; each may hold a whole module.
const WAITING: usize = 16;

type Look = Box<dyn FnOnce() + Send>;

/// The thread that looks. It ends with the last look, once this is dropped.
pub(crate) struct Afterwards(SyncSender<Look>);

impl Afterwards {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, looks) = sync_channel::<Look>(WAITING);
        std::thread::Builder::new().name("checks".to_owned()).spawn(move || {
            // Linux counts it for each thread. Without it a look is only faster.
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!("checks have no lower priority: {error}");
            }
            looks.into_iter().for_each(|look| look());
        })?;
        Ok(Self(sender))
    }

    /// Looks some time later. While too much waits already, it is left for the next time that it is used.
    pub(crate) fn look(&self, look: impl FnOnce() + Send + 'static) {
        if self.0.try_send(Box::new(look)).is_err() {
            tracing::debug!("too many checks wait; one is left for the next load");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn looks_come_one_after_the_other_and_no_more_wait_than_may() {
        let afterwards = Afterwards::start().unwrap();
        let ((go, wait), (tell, told)) = (channel::<()>(), channel());
        let (busy, is_busy) = channel();
        afterwards.look(move || {
            busy.send(()).unwrap();
            wait.recv().unwrap();
        });
        is_busy.recv().unwrap();
        for number in 0..WAITING + 3 {
            let tell = tell.clone();
            afterwards.look(move || tell.send(number).unwrap());
        }
        drop((afterwards, tell));
        go.send(()).unwrap();
        assert!(told.into_iter().eq(0..WAITING));
    }
}
