//! Receivers as they are: most take a notification, some later, some never, some not at all in time.

use super::faulty::Faulty;
use super::*;

/// What one host sends to one destination with.
pub(super) struct Chancy {
    pub(super) line: Arc<Faulty>,
    pub(super) destination: String,
}

#[async_trait]
impl NotifierCall for Chancy {
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        self.line.runs().await;
        let database = &self.line.database;
        let pair = (notification.id.0.as_u128(), self.destination.as_str());
        let times = database.times();
        database.checker.lock().unwrap().started(self.line.host, times, pair, attempt);
        let outcome = self.outcome().await;
        self.line.runs().await;
        let times = database.times();
        database.checker.lock().unwrap().answered(self.line.host, times, pair, attempt);
        Sent::new(outcome, parts_done)
    }

    fn module(&self) -> &str {
        "00"
    }
}

impl Chancy {
    async fn outcome(&self) -> Outcome {
        let database = &self.line.database;
        let delivered = Outcome::Delivered(Receipt::default());
        if database.is_calm() {
            return delivered;
        }
        let dice = &database.dice;
        let reason = String::new();
        match dice.below(100) {
            0..50 => delivered,
            50..62 => {
                sleep(dice.millis(1, 20_000)).await;
                delivered
            }
            62..80 => Outcome::Retry { reason, after: None, scope: Scope::Delivery },
            80..85 => {
                let after = Some(dice.millis(1, 5_000));
                Outcome::Retry { reason, after, scope: Scope::Destination }
            }
            85..89 => Outcome::Rejected { reason },
            89..91 => Outcome::Gone { reason },
            91..96 => Outcome::Fault { fault: Fault::Trap, reason },
            // Hangs until its lease is lost, its host stops, or its timeout comes.
            _ => {
                sleep(Duration::from_secs(90)).await;
                Outcome::Fault { fault: Fault::Timeout, reason }
            }
        }
    }
}
