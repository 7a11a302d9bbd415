//! From a batch to the queue: what every way in has in common.

use postrider_queue::{Enqueue, Enqueued};

use super::Api;
use super::problem::Problem;

/// Stores a batch in one transaction, hands it to the dispatcher and tells whoever listens.
pub(super) async fn store(api: &Api, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, Problem> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let told = |item: &Enqueue| api.feed.wants().then(|| api.feed.accepted(&item.notification));
    let events: Vec<_> = batch.iter().map(told).collect();
    let answers = api.waker.enqueue(&api.queue, batch).await?;
    api.signals.enqueued(&answers);
    let made = answers.iter().filter_map(|answer| match answer {
        Enqueued::Stored { deliveries, .. } => Some(*deliveries),
        Enqueued::Existing { .. } | Enqueued::Conflict { .. } => None,
    });
    api.admission.accepted(made.sum());
    let stored = answers.iter().map(|answer| matches!(answer, Enqueued::Stored { .. }));
    let events = events.into_iter().zip(stored);
    api.feed.tell(events.filter_map(|(event, new)| event.filter(|_| new)));
    Ok(answers)
}
