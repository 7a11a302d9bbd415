//! Leases that come as one JSON array, and their contents in a row beside it: a row of a statement is a trip to the
//! connection's thread, and a claim brings hundreds.

use bytes::Bytes;
use postrider_core::{DeliveryId, LeaseKey, Notification, NotificationId, TraceContext};
use serde::Deserialize;
use uuid::Uuid;

use super::rows::{NO_UUID, Unreadable, chain, labels, number, standing};
use crate::{Lease, millis};

/// Largest content that comes this way, in bytes: what is larger is copied less often as a row.
pub(super) const MOST: i64 = 8 << 10;
/// Leases of one array: more of them hold more memory and save no more.
pub(super) const AT_ONCE: usize = 64;

/// A lease and its notification, as [`super::sql::LEASED_TOGETHER`] packs them: in this order.
#[derive(Deserialize)]
struct Packed {
    id: i64,
    token: i64,
    destination: String,
    attempt: i64,
    used: i64,
    lost: i64,
    since: i64,
    parts_done: i64,
    chain: String,
    expires: Option<i64>,
    order_key: Option<String>,
    uuid: String,
    kind: String,
    source: String,
    subject: Option<String>,
    labels: String,
    content_type: String,
    created_at: i64,
    traceparent: Option<String>,
    tracestate: Option<String>,
    size: usize,
}

/// Leases, or what cannot be made of them. None where any holds bytes that are no text: rows tell which.
pub(super) fn leases(
    array: &[u8],
    mut contents: &[u8],
    now: i64,
) -> Option<Vec<Result<Lease, Unreadable>>> {
    let packed: Vec<Packed> = serde_json::from_slice(array).ok()?;
    let mut leases = Vec::with_capacity(packed.len());
    for packed in packed {
        let (content, rest) = contents.split_at_checked(packed.size)?;
        std::str::from_utf8(content).ok()?;
        contents = rest;
        let id = packed.id;
        let lease = packed.lease(Bytes::copy_from_slice(content), now);
        leases.push(lease.map_err(|problem| Unreadable { id, problem }));
    }
    Some(leases)
}

impl Packed {
    fn lease(self, content: Bytes, now: i64) -> Result<Lease, String> {
        let state = self.tracestate.as_deref();
        let trace = self.traceparent.and_then(|parent| TraceContext::parse(&parent, state));
        Ok(Lease {
            key: LeaseKey { id: DeliveryId(self.id), token: self.token },
            destination: self.destination,
            notification: Notification {
                id: NotificationId(Uuid::try_parse(&self.uuid).map_err(|_other| NO_UUID)?),
                kind: self.kind,
                source: self.source,
                subject: self.subject,
                labels: labels(&self.labels)?,
                content_type: self.content_type,
                content,
                time: millis::timestamp(self.created_at),
                trace,
            },
            attempt: number(self.attempt),
            standing: standing(now, self.since, (self.used, self.lost), self.expires),
            parts_done: number(self.parts_done),
            chain: chain(&self.chain)?,
            order_key: self.order_key,
        })
    }
}
