//! What makes two notifications under one idempotency key the same.

use postrider_core::Notification;
use sha2::{Digest, Sha256};

/// SHA-256 over everything that a producer words; id and time, which the host gives, are left out.
///
/// Kept beside the key, so that the rule holds after the content is gone.
pub(crate) fn digest(notification: &Notification) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        // The length first: two fields never run together.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(notification.kind.as_bytes());
    field(notification.source.as_bytes());
    match &notification.subject {
        Some(subject) => {
            field(b"subject");
            field(subject.as_bytes());
        }
        None => field(b""),
    }
    field(notification.content_type.as_bytes());
    field(&notification.content);
    for (name, value) in &notification.labels {
        field(name.as_bytes());
        field(value.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use postrider_core::{Draft, NotificationId};
    use uuid::Uuid;

    fn of(draft: &Draft) -> [u8; 32] {
        let id = NotificationId(Uuid::nil());
        digest(&draft.clone().accept(id, Timestamp::UNIX_EPOCH).unwrap())
    }

    #[test]
    fn every_field_that_a_producer_words_counts() {
        let plain = Draft { kind: "a".into(), ..Draft::default() };
        let others = [
            Draft { kind: "b".into(), ..plain.clone() },
            Draft { source: "s".into(), ..plain.clone() },
            Draft { subject: Some(String::new()), ..plain.clone() },
            Draft { content_type: "text/plain".into(), ..plain.clone() },
            Draft { content: "x".into(), ..plain.clone() },
            Draft { labels: [("a".into(), "b".into())].into(), ..plain.clone() },
            Draft { labels: [("ab".into(), String::new())].into(), ..plain.clone() },
        ];
        let mut seen: Vec<_> = others.iter().map(of).collect();
        seen.push(of(&plain));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert_eq!(of(&plain), of(&plain.clone()));
    }
}
