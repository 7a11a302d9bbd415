//! What happens on this host, for whoever listens to `/v1/events`.
//!
//! Told, never asked: telling takes a short lock, and nothing at all while nobody listens. What is told within a moment
//! goes out together as one frame, made once for all who listen; of too much at once the rest is only counted. Who
//! reads more slowly than frames come finds the oldest gone, and is told how many. Listeners stand in ranks that hear a
//! frame one after the other: hundreds who write at once would hold everybody's requests up.
//!
//! *Invariant:* nobody waits for a listener.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use postrider_core::settle::Settlement;
use postrider_core::{HostId, Notification};
use postrider_queue::{Lease, Settle};
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// What is told within it goes out together.
const MOMENT: Duration = Duration::from_millis(50);
/// Most events of one frame: 4000 a second.
const FRAME: usize = 200;
/// Most events that are made in a moment while all who listen asked for few: a page that is open costs a busy host little.
const FEW: usize = 20;
/// Frames that a listener may be behind: some three seconds of the busiest.
const FRAMES: usize = 64;
/// Ranks that listeners stand in. The last hears a frame seven eighths of a moment after the first.
const RANKS: usize = 8;
/// From one rank to the next.
const STEP: Duration = Duration::from_micros(6_250);
/// Most listeners of one host.
pub const LISTENERS: usize = 512;

/// A handle to tell and to listen. Cheap to clone: all are one.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    host: HostId,
    now: fn() -> Timestamp,
    ranks: [broadcast::Sender<Arc<Frame>>; RANKS],
    listeners: AtomicUsize,
    /// Those of the listeners that hear everything, or choose from it.
    eager: AtomicUsize,
    /// Events that were wanted in this moment, and those that were not for want of room.
    wanted: AtomicUsize,
    unwanted: AtomicU64,
    number: AtomicU64,
    waiting: Mutex<Waiting>,
    told: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// Told while there was no more room.
    missed: u64,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Such as `delivery.dead`.
    pub name: &'static str,
    /// The notification's type, where it is about one.
    pub kind: String,
    pub destination: Option<String>,
    fields: Value,
}

/// Events that go out together.
#[derive(Debug)]
pub struct Frame {
    /// Each as the wire has it.
    pub events: Vec<(Event, String)>,
    /// All of them.
    pub whole: bytes::Bytes,
    /// The number of the last event up to here, those left out included.
    pub last: u64,
    pub missed: u64,
}

/// A listener's place among the others; free again when dropped.
pub struct Listener {
    feed: Feed,
    eager: bool,
    pub frames: broadcast::Receiver<Arc<Frame>>,
}

impl Feed {
    pub fn new(host: HostId, now: fn() -> Timestamp) -> Self {
        Self(Arc::new(Inner {
            host,
            now,
            ranks: std::array::from_fn(|_| broadcast::channel(FRAMES).0),
            listeners: AtomicUsize::new(0),
            eager: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            unwanted: AtomicU64::new(0),
            number: AtomicU64::new(0),
            waiting: Mutex::default(),
            told: Notify::new(),
        }))
    }

    /// Whether anybody listens; making an event for nobody is work for nothing.
    pub fn is_heard(&self) -> bool {
        self.0.listeners.load(Ordering::Relaxed) > 0
    }

    /// Whether one more event is worth making now; otherwise it is counted.
    pub fn wants(&self) -> bool {
        if !self.is_heard() {
            return false;
        }
        let most = if self.0.eager.load(Ordering::Relaxed) > 0 { FRAME } else { FEW };
        let wanted = self.0.wanted.fetch_add(1, Ordering::Relaxed) < most;
        if !wanted {
            self.0.unwanted.fetch_add(1, Ordering::Relaxed);
            self.0.told.notify_one();
        }
        wanted
    }

    /// Tells events. Never waits for anybody.
    pub fn tell(&self, events: impl IntoIterator<Item = Event>) {
        if !self.is_heard() {
            return;
        }
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match waiting.events.len() < FRAME {
                true => waiting.events.push_back(event),
                false => waiting.missed += 1,
            }
        }
        drop(waiting);
        self.0.told.notify_one();
    }

    /// Listens from now on, unless too many do. Who is not `eager` is content with some of what happens at once.
    pub fn listen(&self, eager: bool) -> Option<Listener> {
        let taken = self.0.listeners.fetch_add(1, Ordering::Relaxed);
        self.0.eager.fetch_add(usize::from(eager), Ordering::Relaxed);
        let shortest = self.0.ranks.iter().min_by_key(|rank| rank.receiver_count())?;
        let listener = Listener { feed: self.clone(), eager, frames: shortest.subscribe() };
        (taken < LISTENERS).then_some(listener)
    }

    /// Where an event stands: `HOST:NUMBER`. Numbers count from the start of the process.
    pub fn place(&self, number: u64) -> String {
        format!("{}:{number}", self.0.host)
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        self.0.number.load(Ordering::Relaxed)
    }

    /// Sends frames out until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&self) {
        let mut took = Duration::ZERO;
        loop {
            self.0.told.notified().await;
            sleep(MOMENT.saturating_sub(took)).await;
            if let Some(frame) = self.frame() {
                took = self.send(&Arc::new(frame)).await;
            }
        }
    }

    /// Sends a frame to one rank after the other. Answers how long that took.
    async fn send(&self, frame: &Arc<Frame>) -> Duration {
        let began = Instant::now();
        let ranks = self.0.ranks.iter().filter(|rank| rank.receiver_count() > 0);
        for (place, rank) in ranks.enumerate() {
            if place > 0 {
                sleep(STEP).await;
            }
            // Its listeners may be gone by now.
            let _heard = rank.send(frame.clone()).is_ok();
        }
        began.elapsed()
    }

    fn frame(&self) -> Option<Frame> {
        let mut waiting =
            std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.wanted.store(0, Ordering::Relaxed);
        waiting.missed += self.0.unwanted.swap(0, Ordering::Relaxed);
        if waiting.events.is_empty() && waiting.missed == 0 {
            return None;
        }
        let mut events = Vec::with_capacity(waiting.events.len());
        for event in waiting.events {
            let number = self.0.number.fetch_add(1, Ordering::Relaxed) + 1;
            let text = self.worded(&event, number);
            events.push((event, text));
        }
        let mut whole: String = events.iter().map(|(_, text)| text.as_str()).collect();
        let last = self.0.number.fetch_add(waiting.missed, Ordering::Relaxed) + waiting.missed;
        if waiting.missed > 0 {
            whole += &self.missed(Some(waiting.missed), last);
        }
        Some(Frame { events, whole: whole.into(), last, missed: waiting.missed })
    }

    fn worded(&self, event: &Event, number: u64) -> String {
        let place = self.place(number);
        format!("id: {place}\nevent: {}\ndata: {}\n\n", event.name, event.fields)
    }

    /// What a listener hears that could not get all. A number that is not known is null.
    pub fn missed(&self, count: Option<u64>, last: u64) -> String {
        let data = json!({"event": "missed", "missed": count, "host": self.0.host});
        format!("id: {}\nevent: missed\ndata: {data}\n\n", self.place(last))
    }

    fn event(&self, name: &'static str, about: &Notification, more: Value) -> Event {
        let mut fields = json!({
            "event": name,
            "time": (self.0.now)(),
            "host": self.0.host,
            "notification": about.id,
            "type": about.kind,
        });
        let destination = more.get("destination").and_then(Value::as_str).map(str::to_owned);
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        Event { name, kind: about.kind.clone(), destination, fields }
    }

    /// A notification was taken in.
    pub fn accepted(&self, n: &Notification) -> Event {
        let more = json!({"source": n.source, "subject": n.subject, "labels": n.labels});
        self.event("notification.accepted", n, more)
    }

    /// An attempt was settled; none for what was handed back.
    pub fn settled(&self, lease: &Lease, settle: &Settle) -> Option<Event> {
        let (name, cause, delay) = match &settle.settlement {
            Settlement::Delivered => ("delivery.delivered", None, None),
            Settlement::Retry { delay, .. } => ("delivery.retry", None, Some(*delay)),
            Settlement::Dead { cause } => ("delivery.dead", Some(cause.name()), None),
            Settlement::Released => return None,
        };
        let attempt = settle.attempt.as_ref();
        let more = json!({
            "destination": lease.destination,
            "delivery": lease.key.id,
            "attempt": attempt.map(|attempt| attempt.number),
            "outcome": attempt.map(|attempt| &attempt.outcome),
            "duration_ms": attempt.map(|a| (a.duration.as_secs_f64() * 1e6).round() / 1e3),
            "reason": settle.reason,
            "cause": cause,
            "retry_in_ms": delay.map(|delay| delay.as_millis()),
            "fallback": settle.handover.as_ref().map(|handover| &handover.taker.destination),
        });
        Some(self.event(name, &lease.notification, more))
    }

    /// Somebody paused or resumed a destination.
    pub fn destination(&self, name: &'static str, destination: &str, reason: &str) -> Event {
        let fields = json!({
            "event": name,
            "time": (self.0.now)(),
            "host": self.0.host,
            "destination": destination,
            "reason": reason,
        });
        let destination = Some(destination.to_owned());
        Event { name, kind: String::new(), destination, fields }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.0.eager.fetch_sub(usize::from(self.eager), Ordering::Relaxed);
        self.feed.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        Feed::new(HostId(uuid::Uuid::nil()), || Timestamp::UNIX_EPOCH)
    }

    fn events(feed: &Feed, count: usize) -> Vec<Event> {
        (0..count).map(|_| feed.destination("destination.paused", "chat", "")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_at_once_goes_out_together_and_the_rest_is_counted() {
        let (feed, stop) = (feed(), CancellationToken::new());
        feed.tell(events(&feed, 5));
        let mut listener = feed.listen(true).unwrap();
        tokio::spawn(feed.clone().run(stop.clone()));
        feed.tell(events(&feed, FRAME + 7));
        let frame = listener.frames.recv().await.unwrap();
        assert_eq!((frame.events.len(), frame.missed, frame.last), (FRAME, 7, FRAME as u64 + 7));
        let text = String::from_utf8(frame.whole.to_vec()).unwrap();
        assert_eq!(text.matches("event: destination.paused\n").count(), FRAME);
        assert!(text.contains("\"missed\":7"), "{text}");
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_does_not_read_costs_its_own_events_only() {
        let (feed, stop) = (feed(), CancellationToken::new());
        let (mut slow, mut quick) = (feed.listen(true).unwrap(), feed.listen(true).unwrap());
        tokio::spawn(feed.clone().run(stop.clone()));
        for number in 1..=2 * FRAMES as u64 {
            feed.tell(events(&feed, 1));
            assert_eq!(quick.frames.recv().await.unwrap().last, number);
        }
        let behind = slow.frames.recv().await.unwrap_err();
        assert_eq!(behind, broadcast::error::RecvError::Lagged(FRAMES as u64));
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn ranks_hear_one_after_the_other_and_no_frame_is_later_for_it() {
        let (feed, stop) = (feed(), CancellationToken::new());
        let mut listeners: Vec<Listener> =
            (0..2 * RANKS).map_while(|_| feed.listen(true)).collect();
        tokio::spawn(feed.clone().run(stop.clone()));
        let began = Instant::now();
        for round in 1..=3 {
            feed.tell(events(&feed, 1));
            let mut heard = Vec::new();
            for listener in &mut listeners {
                assert_eq!(listener.frames.recv().await.unwrap().last, round);
                heard.push(began.elapsed());
            }
            let (first, last) = (heard[0], heard[RANKS - 1]);
            assert!(heard[RANKS..].iter().all(|at| *at == last), "two of each rank");
            assert!(last - first >= MOMENT * 3 / 4 && last - first < MOMENT * 5 / 4);
            assert!(last < MOMENT * (u32::try_from(round).unwrap() + 1) * 5 / 4, "{last:?}");
        }
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn while_all_want_few_no_more_are_made_and_the_rest_is_counted() {
        let (feed, stop) = (feed(), CancellationToken::new());
        assert!(!feed.wants(), "nobody listens");
        let mut calm = feed.listen(false).unwrap();
        tokio::spawn(feed.clone().run(stop.clone()));
        let made = (0..FEW + 5).filter(|_| feed.wants()).count();
        assert_eq!(made, FEW);
        feed.tell(events(&feed, made));
        let frame = calm.frames.recv().await.unwrap();
        assert_eq!((frame.events.len(), frame.missed), (FEW, 5));
        let eager = feed.listen(true).unwrap();
        assert_eq!((0..FEW + 5).filter(|_| feed.wants()).count(), FEW + 5);
        drop(eager);
        assert!(!feed.wants(), "this moment is full for the others");
        let frame = calm.frames.recv().await.unwrap();
        assert_eq!(
            (frame.events.len(), frame.missed),
            (0, 1),
            "what was never told is still counted"
        );
        stop.cancel();
    }

    #[test]
    fn places_are_free_again() {
        let feed = feed();
        let listeners: Vec<Listener> = (0..LISTENERS).map_while(|_| feed.listen(true)).collect();
        assert!(listeners.len() == LISTENERS && feed.listen(true).is_none());
        drop(listeners);
        assert!(feed.listen(true).is_some());
        assert!(!feed.is_heard());
    }
}
