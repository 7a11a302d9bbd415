//! `GET /v1/events`: what happens on this host, as server-sent events.
//!
//! It is no part of the OpenAPI document: it never ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use postrider_core::filter::glob;
use serde::Deserialize;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until, timeout};

use super::Api;
use super::extract::Parameters;
use super::problem::Problem;
use crate::feed::{Event, Feed, Frame, LISTENERS, Listener};

/// A comment goes out when nothing else did for so long: whoever is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// Who asked for no more than so many a second hears twice a second.
const PACE: Duration = Duration::from_millis(500);
/// Most that may be asked for.
const FASTEST: u64 = 4_000;

/// The query of `GET /v1/events`.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A pattern of the event's name.
    event: Option<String>,
    /// A pattern of the notification's type.
    #[serde(rename = "type")]
    kind: Option<String>,
    destination: Option<String>,
    /// No more than so many a second; the rest is counted.
    most: Option<String>,
}

struct Listening {
    listener: Listener,
    feed: Feed,
    wanted: Wanted,
    /// Events of one answer, where their rate is bounded.
    most: Option<usize>,
    /// Not before it hears again.
    pace: Instant,
    /// What it hears first.
    greeting: Option<String>,
}

/// Tells what happens from now on. `Last-Event-ID` makes it say what was missed since.
pub async fn listen(
    State(api): State<Api>,
    headers: HeaderMap,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let most = wanted.most()?;
    let eager = most.is_none() || wanted.is_narrow();
    let listener = api.feed.listen(eager).ok_or_else(|| {
        let detail = format!("{LISTENERS} listen already; close one of them, or ask another host");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let greeting = Some(format!("retry: 2000\n\n{}", caught_up(&api.feed, last)));
    let (feed, pace) = (api.feed.clone(), Instant::now());
    let listening = Listening { listener, feed, wanted, most, pace, greeting };
    let stop = api.feed_stop.clone();
    let events = stream::unfold(listening, move |listening| {
        let stop = stop.clone();
        async move {
            tokio::select! {
                // A stop does not wait for who listens.
                () = stop.cancelled() => None,
                next = listening.next() => next.map(|(bytes, on)| (Ok::<_, Infallible>(bytes), on)),
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// What somebody missed who has heard the event `last`.
fn caught_up(feed: &Feed, last: Option<&str>) -> String {
    let newest = feed.newest();
    let Some(last) = last.filter(|last| *last != feed.place(newest)) else { return String::new() };
    let number = last.rsplit_once(':').and_then(|(_, number)| number.parse::<u64>().ok());
    // Another host's, or that of a process that has ended: nobody knows how many.
    let ours = number.filter(|number| feed.place(*number) == last);
    feed.missed(ours.and_then(|number| newest.checked_sub(number)), newest)
}

impl Listening {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(greeting) = self.greeting.take() {
            return Some((greeting.into(), self));
        }
        loop {
            let heard = match timeout(ALIVE, self.listener.frames.recv()).await {
                Err(_silence) => Bytes::from_static(b":\n\n"),
                Ok(Ok(frame)) => match self.most {
                    Some(most) => self.paced(frame, most).await,
                    None => self.shown(&frame),
                },
                Ok(Err(RecvError::Lagged(_frames))) => {
                    self.feed.missed(None, self.feed.newest()).into()
                }
                Ok(Err(RecvError::Closed)) => return None,
            };
            if !heard.is_empty() {
                return Some((heard, self));
            }
        }
    }

    /// The newest of what comes until its time, no more than so many; how many were left out stands before them.
    async fn paced(&mut self, frame: Arc<Frame>, most: usize) -> Bytes {
        sleep_until(self.pace).await;
        let (mut newest, mut missed) = (VecDeque::from([frame]), 0);
        let mut lost = false;
        loop {
            match self.listener.frames.try_recv() {
                Ok(frame) => newest.push_back(frame),
                Err(TryRecvError::Lagged(_frames)) => lost = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.pace = Instant::now() + PACE;
        let Some(last) = newest.back().map(|frame| frame.last) else { return Bytes::new() };
        let wanted = newest.iter().flat_map(|frame| &frame.events);
        let wanted: Vec<&str> = wanted
            .filter(|(event, _)| self.wanted.wants(event))
            .map(|(_, text)| text.as_str())
            .collect();
        let over = wanted.len().saturating_sub(most);
        missed += over as u64 + newest.iter().map(|frame| frame.missed).sum::<u64>();
        let mut text = String::new();
        if missed > 0 || lost {
            text = self.feed.missed(Some(missed).filter(|_| !lost), last);
        }
        text.extend(wanted.into_iter().skip(over));
        text.into()
    }

    fn shown(&self, frame: &Arc<Frame>) -> Bytes {
        if !self.wanted.is_narrow() {
            return frame.whole.clone();
        }
        let wanted = frame.events.iter().filter(|(event, _)| self.wanted.wants(event));
        let mut text: String = wanted.map(|(_, text)| text.as_str()).collect();
        if frame.missed > 0 {
            text += &self.feed.missed(Some(frame.missed), frame.last);
        }
        text.into()
    }
}

impl Wanted {
    /// Whether it is not content with whatever happens.
    fn is_narrow(&self) -> bool {
        let Self { event, kind, destination, most: _ } = self;
        event.is_some() || kind.is_some() || destination.is_some()
    }

    /// Events of one answer.
    fn most(&self) -> Result<Option<usize>, Problem> {
        let Some(text) = &self.most else { return Ok(None) };
        let most = text.parse().ok().filter(|most| (1..=FASTEST).contains(most));
        let most = most.ok_or_else(|| {
            Problem::field("most", &format!("must be a number from 1 to {FASTEST}"))
        })?;
        Ok(usize::try_from(most.div_ceil(2)).ok())
    }

    fn wants(&self, event: &Event) -> bool {
        self.event.as_ref().is_none_or(|pattern| glob(pattern, event.name))
            && self.kind.as_ref().is_none_or(|pattern| glob(pattern, &event.kind))
            && (self.destination.is_none() || self.destination == event.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::HostId;

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_few_hears_the_newest_and_how_many_were_left_out() {
        let feed = Feed::new(HostId(uuid::Uuid::nil()), || jiff::Timestamp::UNIX_EPOCH);
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(feed.clone().run(stop.clone()));
        let most = Some("4".to_owned());
        let wanted = Wanted { event: Some("*.paused".into()), most, ..Wanted::default() };
        let listening = Listening {
            listener: feed.listen(true).unwrap(),
            feed: feed.clone(),
            most: wanted.most().ok().flatten(),
            wanted,
            pace: Instant::now(),
            greeting: None,
        };
        let tell = |names: [&'static str; 5]| {
            feed.tell(names.map(|name| feed.destination(name, "chat", "")));
        };
        let named = |text: Bytes| String::from_utf8(text.to_vec()).unwrap();
        let (paused, resumed) = ("destination.paused", "destination.resumed");
        tell([paused, resumed, paused, paused, resumed]);
        let (first, listening) = listening.next().await.unwrap();
        let first = named(first);
        assert!(first.starts_with("id: ") && first.contains("\"missed\":1"), "{first}");
        assert_eq!(first.matches("event: destination.paused").count(), 2);
        let began = Instant::now();
        tell([resumed, paused, resumed, resumed, resumed]);
        let (second, _) = listening.next().await.unwrap();
        assert_eq!(began.elapsed(), PACE, "it hears twice a second");
        let second = named(second);
        assert!(!second.contains("missed"), "{second}");
        assert_eq!(second.matches("event: destination.paused").count(), 1);
        stop.cancel();
    }

    #[test]
    fn who_comes_back_is_told_what_was_missed() {
        let feed = Feed::new(HostId(uuid::Uuid::nil()), || jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(caught_up(&feed, None), "");
        assert_eq!(caught_up(&feed, Some(&feed.place(0))), "");
        assert!(caught_up(&feed, Some("f59a464c:17")).contains("\"missed\":null"));
        assert!(caught_up(&feed, Some("nonsense")).contains("event: missed"));
    }
}
