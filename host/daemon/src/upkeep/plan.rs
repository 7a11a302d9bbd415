//! When the next chunk of retention is due. Pure; the pruner acts on it.

use std::time::Duration;

use postrider_queue::Pruned;

/// From the start, and from the end of a pass, to the next pass.
pub const BETWEEN_PASSES: Duration = Duration::from_secs(600);
/// A pass took at most this part of the time from its start to the next one's.
const PASS_SHARE: u32 = 10;
/// After a chunk, this many times as long as it took belongs to everything else.
const REST: u32 = 3;
/// Shortest pause between two chunks.
const SHORTEST: Duration = Duration::from_millis(10);
/// After an error the dispatcher complains; this only waits.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// Where a pass stands.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where the next chunk goes on; none: from the start.
    pub after: Option<i64>,
    /// How long the chunks of this pass took.
    took: Duration,
}

impl Plan {
    /// Takes in what a chunk came to (none: it failed) and how long it took. Answers the wait until the next.
    pub fn chunk(&mut self, came_to: Option<&Pruned>, took: Duration) -> Duration {
        let Some(pruned) = came_to else { return AFTER_ERROR };
        self.after = pruned.next;
        self.took += took;
        match pruned.next {
            Some(_) => (took * REST).max(SHORTEST),
            None => (std::mem::take(&mut self.took) * PASS_SHARE).max(BETWEEN_PASSES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn chunks_leave_three_quarters_of_the_time_to_others() {
        let mut plan = Plan::default();
        let more = Pruned { next: Some(7), ..Pruned::default() };
        assert_eq!(plan.chunk(Some(&more), SECOND), 3 * SECOND);
        assert_eq!(plan.after, Some(7));
        assert_eq!(plan.chunk(Some(&more), Duration::ZERO), SHORTEST);
    }

    #[test]
    fn a_long_pass_comes_more_rarely() {
        let mut plan = Plan::default();
        let more = Pruned { next: Some(7), ..Pruned::default() };
        plan.chunk(Some(&more), 200 * SECOND);
        assert_eq!(plan.chunk(Some(&Pruned::default()), SECOND), 2_010 * SECOND);
        assert_eq!(plan.after, None);
        // Then the next, short one is counted by itself.
        assert_eq!(plan.chunk(Some(&Pruned::default()), SECOND), BETWEEN_PASSES);
    }

    #[test]
    fn an_error_goes_on_where_it_was() {
        let mut plan = Plan::default();
        plan.chunk(Some(&Pruned { next: Some(7), ..Pruned::default() }), SECOND);
        assert_eq!(plan.chunk(None, SECOND), AFTER_ERROR);
        assert_eq!(plan.after, Some(7));
    }
}
