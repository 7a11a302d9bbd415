//! The claims that every store must keep, written once, in the order of a delivery's life.
//!
//! `conformance!(make)` makes a test of each claim; `make` is an async function that answers a [`Stage`] with an
//! empty store. Time moves only by [`Stand::advance`]: no claim sleeps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::settle::{Cause, Settlement};
use postrider_core::{
    Attempt, DeliveryId, HostId, LeaseKey, Notification, NotificationId, Schedule, TraceContext,
};
use uuid::Uuid;

use crate::{
    Access, Claim, DeliveryFilter, DeliveryRecord, Enqueue, Enqueued, Handover, Lease, Page, Queue,
    Settle, Slots, Taken, Taking, Target,
};

pub(crate) mod access;
pub(crate) mod breakers;
pub(crate) mod finding;
pub(crate) mod holding;
pub(crate) mod hosts;
pub(crate) mod intake;
pub(crate) mod lanes;
pub(crate) mod leases;
pub(crate) mod lists;
pub(crate) mod notes;
pub(crate) mod numbers;
pub(crate) mod ordering;
pub(crate) mod retention;
pub(crate) mod schedule;
pub(crate) mod sweep;
pub(crate) mod taking;
pub(crate) mod upkeep;
pub(crate) mod versions;

/// Makes a test of every claim.
macro_rules! conformance {
    ($make:ident) => {
        conformance! { $make, intake:
            a_notification_is_stored_and_fanned_out
            a_destination_named_twice_gets_one_delivery
            a_notification_without_destinations_is_kept
            every_kind_of_content_comes_back_as_it_was
            the_same_key_with_the_same_notification_is_stored_once
            the_same_key_with_another_notification_is_a_conflict
            an_idempotency_key_counts_within_one_batch
            a_key_that_was_not_stored_is_free_for_the_next_of_a_batch
            what_shares_an_id_within_a_batch_comes_after_the_others
            concurrent_enqueues_of_one_key_store_one_notification
            an_id_that_exists_is_not_stored_again
            what_is_known_in_a_long_batch_is_left_out_and_nothing_else
            an_empty_batch_is_no_error
            a_producers_notification_is_fanned_out_once
            a_malformed_notification_is_set_aside_with_its_reason
        }
        conformance! { $make, leases:
            a_claim_takes_as_many_as_each_destination_has_slots
            the_oldest_due_comes_first
            a_claim_brings_notifications_whole_and_in_their_order
            every_delivery_is_claimed_exactly_once
            one_claim_takes_no_more_than_a_batch
            a_lease_keeps_others_away_until_it_expires
            an_expired_lease_is_taken_again_and_recorded_as_lost
            losses_in_a_row_are_counted_and_a_settlement_forgets_them
            a_stale_token_changes_nothing_and_is_reported
            a_lease_is_settled_once
            a_long_batch_is_settled_but_for_what_is_lost
            an_expired_lease_counts_until_somebody_takes_it
            extending_moves_the_expiry
            a_release_counts_nothing
            a_retry_comes_back_after_its_delay
            an_uncounted_retry_spares_the_budget
            a_hold_parks_the_whole_destination
            a_shorter_hold_does_not_shorten_a_longer_one
            a_delivered_one_is_finished_with_its_attempt
            a_refusal_leaves_no_gap_in_the_attempts
            a_dead_delivery_hands_over_to_its_first_fallback
            a_fallback_that_has_the_notification_is_only_linked
            parts_done_survive_a_retry
            age_counts_from_the_making
            the_fences_hold_for_every_row_of_a_batch
            a_batch_of_all_kinds_settles_each_in_its_own_way
        }
        conformance! { $make, taking:
            what_is_taken_is_leased_as_it_is_stored
            what_goes_to_many_is_taken_for_each
            only_what_is_named_is_taken
            what_is_held_is_left_to_claims
            what_came_before_is_not_taken
            what_has_a_schedule_or_a_key_is_left_to_claims
            a_taken_lease_expires_and_is_recorded_as_lost
            many_take_at_once
        }
        conformance! { $make, lanes:
            retries_get_what_is_kept_for_them_beside_a_fresh_backlog
            a_backlog_of_retries_gets_no_more_than_is_kept_beside_fresh_ones
            either_lane_fills_the_whole_when_the_other_is_empty
            what_either_lane_leaves_free_the_other_takes
            a_single_slot_takes_a_retry_when_no_first_attempt_is_due
            no_more_is_kept_for_retries_than_is_free
            the_bound_of_a_batch_cuts_both_lanes_alike
            a_claim_takes_the_oldest_of_each_lane
        }
        conformance! { $make, upkeep:
            redelivery_gives_a_fresh_budget_and_goes_on_counting
            redelivery_hastens_what_waits_and_leaves_the_rest_alone
            cancelling_takes_a_running_lease_away
            a_cancelled_delivery_can_be_redelivered
            destinations_are_kept_as_a_whole
            orphans_of_removed_destinations_are_buried
            orphans_of_unknown_destinations_are_buried_when_old
            leased_orphans_are_left_alone_until_the_lease_expires
            every_call_after_close_is_refused
        }
        conformance! { $make, lists:
            a_look_tells_when_the_first_of_the_named_is_due
            a_look_minds_leases_and_holds
            a_look_sees_what_waits_for_fan_out
            size_counts_what_is_live_or_not_fanned_out
            size_stops_at_its_bound
            notifications_page_without_gaps_or_doubles
            deliveries_page_without_gaps_or_doubles
            deliveries_are_filtered_by_every_field
            unknown_ids_are_absent_not_errors
        }
        conformance! { $make, finding:
            notifications_are_found_by_every_field
            notifications_are_found_by_where_they_stand
            patterns_mean_the_same_in_every_store
            a_bound_below_ends_a_list
        }
        conformance! { $make, holding:
            a_paused_destination_is_held_until_somebody_resumes_it
            a_rest_that_is_asked_for_does_not_end_a_pause
            a_pause_takes_the_breakers_place_and_none_opens_meanwhile
            what_is_put_away_is_cancelled_and_can_be_revived
        }
        conformance! { $make, schedule:
            a_later_delivery_is_due_then_and_not_before
            the_age_of_a_later_delivery_counts_from_when_it_is_due
            a_lease_tells_what_is_left_until_expiry
            the_earlier_of_both_expiries_wins
            without_a_schedule_nothing_expires
            records_show_the_expiry
            a_producers_times_count_from_its_insert
            a_producers_time_that_has_passed_is_now
            redelivery_hastens_and_lifts_the_expiry
            a_taker_expires_with_its_notification
            what_has_expired_by_itself_is_not_handed_over
        }
        conformance! { $make, ordering:
            only_the_head_of_each_key_is_due
            a_lease_tells_its_key
            delivering_the_head_makes_the_next_one_due
            a_retry_of_the_head_keeps_the_others_waiting
            a_dead_head_is_skipped_and_the_next_one_says_so
            a_cancelled_head_is_skipped_and_the_next_one_says_so
            cancelling_one_that_waits_leaves_the_head_alone
            an_orphaned_head_gives_way
            what_is_redelivered_comes_after_the_head_of_its_key
            what_waits_cannot_be_hastened
            a_look_is_not_woken_by_what_waits
            a_lost_lease_keeps_the_order
            keys_and_destinations_do_not_wait_for_each_other
            a_later_head_holds_its_key_back
            arrivals_are_kept_in_order
            a_taker_waits_for_its_own_key
        }
        conformance! { $make, sweep:
            what_has_expired_is_swept_and_nothing_else
            a_swept_delivery_dies_without_an_attempt
            what_is_not_due_yet_is_swept_when_it_expires
            a_running_attempt_is_left_alone_until_its_lease_expires
            max_age_counts_in_both_lanes_also_where_a_destination_is_held
            a_sweep_takes_no_more_than_its_limit
            what_expires_is_swept_of_removed_destinations_too
            what_waits_for_its_head_is_swept_and_waits_on_if_it_is_handed_back
        }
        conformance! { $make, breakers:
            an_open_breaker_keeps_every_claim_away
            the_first_probe_comes_after_the_wait_and_takes_one
            a_trial_is_given_up_after_its_patience
            nothing_due_is_no_trial
            a_ramp_takes_the_oldest_of_both_lanes
            a_trial_takes_no_more_than_a_host_has_room_for
            a_closed_breaker_leaves_nothing_behind
            failed_probes_are_counted_and_the_last_reason_is_told
            what_is_gone_is_never_tried_until_it_is_resumed
            a_probe_can_find_it_gone
            a_hold_is_told_and_lifted_by_a_resume
            a_breaker_waits_out_the_hold_before_it
            a_look_tells_of_the_next_trial
            a_sweep_takes_early_what_is_not_due_and_not_leased
            an_expired_lease_is_lost_in_a_trial_too
        }
        conformance! { $make, notes:
            a_note_is_read_until_it_is_removed
            a_note_belongs_to_one_destination
            a_note_is_swapped_only_at_its_version
            a_version_never_comes_back
            a_note_expires
            a_destination_has_room_for_so_many_notes
            a_destination_has_room_for_so_many_bytes
        }
        conformance! { $make, hosts:
            hosts_are_listed_with_what_they_last_told
            a_host_that_leaves_or_was_silent_for_long_is_forgotten
            what_a_live_host_has_in_force_no_other_removes
            the_time_of_an_orphan_starts_when_no_live_host_has_it
        }
        conformance! { $make, retention:
            a_finished_notification_goes_with_all_that_belongs_to_it
            what_is_not_wholly_finished_stays
            dead_letters_and_malformed_rows_stay_longer
            an_unrouted_notification_goes_by_the_age_of_its_fan_out
            content_goes_before_its_rows
            what_has_no_content_is_not_redelivered
            what_is_redelivered_stays
            a_key_outlives_its_deliveries
            what_came_before_without_a_digest_counts_as_the_same
            a_chunk_is_bounded_and_the_next_goes_on_behind_it
            numbers_are_not_given_twice
            a_handover_goes_as_a_whole
        }
        conformance! { $make, access:
            a_token_comes_back_as_it_was_kept
            names_and_ids_of_tokens_are_given_once
            a_token_expires_by_the_stores_clock
            the_last_use_is_kept_to_the_minute
            a_revoked_token_is_gone_and_its_name_free
            the_audit_pages_from_the_newest
            old_entries_of_the_audit_go_as_new_ones_come
        }
        conformance! { $make, versions:
            what_is_seen_of_a_version_adds_up
            a_predecessor_is_kept_until_another_is_told
            the_oldest_versions_are_forgotten
            a_module_is_quarantined_once_and_for_every_plugin
            what_worked_anywhere_is_quarantined_by_hand_only
            what_is_released_begins_anew
        }
        conformance! { $make, numbers:
            an_empty_store_counts_nothing
            rows_are_counted_by_state
            the_oldest_due_is_the_one_that_waits_longest
            size_counts_up_to_any_bound
            depths_tell_what_waits_for_each_destination
            the_backlog_is_told_for_each_destination
            dead_letters_are_grouped_by_destination_cause_and_reason
        }
    };
    ($make:ident, $module:ident: $($claim:ident)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                // A store whose server is not on the machine has no stage.
                let stage: Option<crate::conformance::Stage> = $make().await.into();
                if let Some(stage) = stage {
                    crate::conformance::$module::$claim(&stage).await;
                }
            }
        )*
    };
}

/// When every store's clock starts.
pub(crate) const EPOCH: Timestamp = Timestamp::constant(1_800_000_000, 0);
pub(crate) const LEASE: Duration = Duration::from_secs(45);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A store under test.
pub(crate) struct Stage {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) stand: Arc<dyn Stand>,
}

/// What a test can do to a store from outside.
#[async_trait]
pub(crate) trait Stand: Send + Sync {
    /// Moves the store's clock.
    fn advance(&self, by: Duration);

    /// Inserts a notification as a producer's own SQL would.
    async fn insert(&self, notification: Notification) {
        self.insert_scheduled(notification, Schedule::default()).await;
    }

    /// The same with the columns of a schedule.
    async fn insert_scheduled(&self, notification: Notification, schedule: Schedule);
}

impl Stage {
    pub(crate) fn advance(&self, by: Duration) {
        self.stand.advance(by);
    }

    /// Enqueues one notification and answers its id.
    pub(crate) async fn enqueue(&self, destinations: &[&str]) -> NotificationId {
        let item = item(destinations);
        let id = item.notification.id;
        let stored = self.queue.enqueue(vec![item]).await.unwrap();
        let deliveries = u32::try_from(destinations.len()).unwrap();
        assert_eq!(stored, [Enqueued::Stored { id, deliveries }]);
        id
    }

    /// Enqueues one notification and takes what goes to the named destinations.
    pub(crate) async fn take(&self, item: Enqueue, destinations: &[&str]) -> Taken {
        let destinations = destinations.iter().map(|&name| name.to_owned()).collect();
        let taking = Taking { host: host(), lease: LEASE, destinations };
        self.queue.enqueue_taking(item, taking).await.unwrap()
    }

    /// Claims with 100 slots.
    pub(crate) async fn claim(&self, destination: &str) -> Vec<Lease> {
        self.queue.claim(&claim(&[(destination, 100, 50)])).await.unwrap()
    }

    /// Claims the only due one.
    pub(crate) async fn claim_one(&self, destination: &str) -> Lease {
        let mut leases = self.claim(destination).await;
        assert_eq!(leases.len(), 1, "{leases:?}");
        leases.remove(0)
    }

    /// Settles one lease, which must still be ours.
    pub(crate) async fn settle(&self, item: Settle) {
        assert_eq!(self.queue.settle(vec![item]).await.unwrap(), []);
    }

    pub(crate) async fn delivery(&self, id: DeliveryId) -> DeliveryRecord {
        let filter = DeliveryFilter { id: Some(id), ..everything() };
        self.queue.deliveries(&filter).await.unwrap().remove(0)
    }

    pub(crate) async fn attempts(&self, id: DeliveryId) -> Vec<(u32, String)> {
        let attempts = self.queue.attempts(id).await.unwrap();
        attempts.into_iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
    }
}

pub(crate) fn everything() -> DeliveryFilter {
    let page = Page { after: None, limit: 1_000 };
    DeliveryFilter {
        state: None,
        destination: None,
        notification: None,
        id: None,
        above: None,
        page,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's ids only need to differ")]
pub(crate) fn notification() -> Notification {
    Notification {
        id: NotificationId(Uuid::now_v7()),
        kind: "alert.firing".into(),
        source: "prometheus".into(),
        subject: Some("db-1".into()),
        labels: [("severity".to_owned(), "critical".to_owned())].into(),
        content_type: "application/json".into(),
        content: Bytes::from_static(br#"{"summary":"disk \"full\""}"#),
        time: EPOCH,
        trace: TraceContext::parse(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            Some("vendor=1"),
        ),
    }
}

pub(crate) fn item(destinations: &[&str]) -> Enqueue {
    Enqueue {
        notification: notification(),
        idempotency_key: None,
        schedule: Schedule::default(),
        destinations: destinations.iter().map(|&name| name.into()).collect(),
    }
}

pub(crate) fn host() -> HostId {
    HostId(Uuid::from_u128(7))
}

/// For each destination the free slots, and how many of them are kept for retries.
pub(crate) fn claim(slots: &[(&str, u32, u32)]) -> Claim {
    let slots = slots.iter().map(|&(destination, free, retries)| Slots {
        destination: destination.to_owned(),
        free,
        retries,
    });
    Claim { host: host(), lease: LEASE, slots: slots.collect() }
}

pub(crate) fn attempt(outcome: &str) -> Attempt {
    Attempt {
        number: 1,
        started: EPOCH,
        duration: Duration::from_micros(1_234),
        outcome: outcome.to_owned(),
        reason: "because".to_owned(),
        plugin: "c0ffee".to_owned(),
        host: host(),
    }
}

/// A settlement with an attempt to record, unless it is a release.
pub(crate) fn settle(key: LeaseKey, settlement: Settlement) -> Settle {
    let outcome = match settlement {
        Settlement::Delivered => Some("delivered"),
        Settlement::Retry { .. } => Some("retry"),
        Settlement::Dead { .. } => Some("rejected"),
        Settlement::Released => None,
    };
    Settle {
        key,
        settlement,
        parts_done: 0,
        reason: "so it is".to_owned(),
        attempt: outcome.map(attempt),
        handover: None,
    }
}

pub(crate) fn retry(delay: Duration) -> Settlement {
    Settlement::Retry { delay, counted: true, hold: None }
}

/// A handover to the first, and then to the rest.
pub(crate) fn handover(names: &[&str]) -> Option<Handover> {
    let (first, rest) = names.split_first()?;
    let chain = rest.iter().map(|&name| name.to_owned()).collect();
    Some(Handover { taker: Target::from(*first), chain })
}

pub(crate) const DEAD: Settlement = Settlement::Dead { cause: Cause::Rejected };
