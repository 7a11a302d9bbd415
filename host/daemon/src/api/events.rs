//! `GET /v1/events`: what happens on this host, as server-sent events.
//!
//! It is no part of the OpenAPI document: it never ends.

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
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::Api;
use super::extract::Parameters;
use super::problem::Problem;
use crate::feed::{Event, Feed, Frame, LISTENERS, Listener};

/// A comment goes out when nothing else did for so long: whoever is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

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
}

struct Listening {
    listener: Listener,
    feed: Feed,
    wanted: Wanted,
    /// What it hears first.
    greeting: Option<String>,
}

/// Tells what happens from now on. `Last-Event-ID` makes it say what was missed since.
pub async fn listen(
    State(api): State<Api>,
    headers: HeaderMap,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let listener = api.feed.listen().ok_or_else(|| {
        let detail = format!("{LISTENERS} listen already; close one of them, or ask another host");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let greeting = Some(format!("retry: 2000\n\n{}", caught_up(&api.feed, last)));
    let listening = Listening { listener, feed: api.feed.clone(), wanted, greeting };
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
                Ok(Ok(frame)) => self.shown(&frame),
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

    fn shown(&self, frame: &Arc<Frame>) -> Bytes {
        let Wanted { event, kind, destination } = &self.wanted;
        if event.is_none() && kind.is_none() && destination.is_none() {
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

    #[test]
    fn who_comes_back_is_told_what_was_missed() {
        let feed = Feed::new(HostId(uuid::Uuid::nil()), || jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(caught_up(&feed, None), "");
        assert_eq!(caught_up(&feed, Some(&feed.place(0))), "");
        assert!(caught_up(&feed, Some("f59a464c:17")).contains("\"missed\":null"));
        assert!(caught_up(&feed, Some("nonsense")).contains("event: missed"));
    }
}
