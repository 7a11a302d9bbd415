//! What must hold of each delivery when everything has ended.

use postrider_core::settle::Settlement;
use postrider_core::{Attempt, DeliveryState};
use postrider_queue::DeliveryRecord;

use super::checker::Checker;

impl Checker {
    pub(super) fn reckon(
        &self,
        record: &DeliveryRecord,
        attempts: &[Attempt],
    ) -> Option<&'static str> {
        let Some(known) = self.known.get(&record.id.0) else {
            return Some("a delivery was never given out");
        };
        let ended = match record.state {
            DeliveryState::Delivered => known.ended == Some(Settlement::Delivered),
            DeliveryState::Dead => matches!(known.ended, Some(Settlement::Dead { .. })),
            DeliveryState::Pending | DeliveryState::Leased | DeliveryState::Cancelled => {
                return Some("a delivery has not ended");
            }
        };
        if !ended {
            return Some("a delivery ended otherwise than it was settled");
        }
        let numbers = attempts.iter().map(|attempt| attempt.number);
        if !numbers.eq(1..=known.attempts) || record.attempts != known.attempts {
            return Some("the attempts are not numbered without gaps in the end");
        }
        let taken_over = record.fallback_to.is_some();
        let dies_with_heirs = record.state == DeliveryState::Dead && !known.handover.is_empty();
        (dies_with_heirs && !taken_over).then_some("nobody took over from a dead delivery")
    }
}
