//! When a reload tries again what failed and may go by itself: the sandbox was out of room, a `configure` ran out of
//! time. Its own backoff, ever longer; a changed file or a reload by hand ends it.

use std::time::Duration;

use postrider_sandbox::{BindError, LoadProblem};
use tokio::time::Instant;

/// The first wait, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15 * 60));

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    at: Instant,
    wait: Duration,
}

impl Again {
    /// After a failure, and the one before it.
    pub(super) fn after(before: Option<Self>) -> Self {
        let (first, longest) = WAIT;
        let wait = before.map_or(first, |before| (before.wait * 2).min(longest));
        Self { at: Instant::now() + wait, wait }
    }

    pub(super) fn is_due(self) -> bool {
        Instant::now() >= self.at
    }
}

/// Whether the same file may load another time.
pub(super) fn may_load(problem: &LoadProblem) -> bool {
    match problem {
        LoadProblem::Host { .. } | LoadProblem::Describe { .. } => true,
        LoadProblem::Empty
        | LoadProblem::TooLarge { .. }
        | LoadProblem::NotWasm { .. }
        | LoadProblem::Invalid { .. }
        | LoadProblem::CoreModuleWithoutExports
        | LoadProblem::Adapt { .. }
        | LoadProblem::WrongWorld { .. }
        | LoadProblem::WrongVersion { .. }
        | LoadProblem::UnknownImport { .. }
        | LoadProblem::Mismatch { .. }
        | LoadProblem::Compile { .. }
        | LoadProblem::CompileLimit { .. } => false,
    }
}

/// Whether the same binding may succeed another time.
pub(super) fn may_bind(error: &BindError) -> bool {
    match error {
        BindError::Fault { .. } => true,
        BindError::Disabled | BindError::Refused(_) | BindError::Settings(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_waits_double_up_to_a_quarter_of_an_hour() {
        let mut again = Again::after(None);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(!again.is_due());
            let start = Instant::now();
            tokio::time::sleep_until(again.at).await;
            assert!(again.is_due());
            waits.push(start.elapsed().as_secs());
            again = Again::after(Some(again));
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }
}
