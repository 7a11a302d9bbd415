//! `postrider tail`: what happens, a line for each event.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::sleep;

use super::client::{Client, NoAnswer, Refusal};
use super::show;

/// Before it is asked again after the connection ended.
const AGAIN: Duration = Duration::from_secs(2);

/// Which events.
#[derive(clap::Args)]
pub(super) struct Wanted {
    /// A pattern of events, such as delivery.*.
    #[arg(long)]
    event: Option<String>,
    /// A pattern of the notification's type.
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(long)]
    destination: Option<String>,
    /// Ends after so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Follows until it is interrupted; comes back when the daemon does.
pub(super) async fn run(client: &Client, wanted: Wanted, as_json: bool) -> Result<()> {
    let fields =
        [("event", wanted.event), ("type", wanted.kind), ("destination", wanted.destination)];
    let query = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query: Vec<(&str, String)> = query.collect();
    let mut left = wanted.limit;
    let mut last: Option<String> = None;
    let mut connected = false;
    loop {
        match client.follow(&["v1", "events"], &query, last.as_deref()).await {
            Ok(mut answer) => {
                connected = true;
                let mut parser = Parser::default();
                while let Ok(Some(bytes)) = answer.chunk().await {
                    for (id, data) in parser.feed(&bytes) {
                        last = id.or(last);
                        show::print(&line(&data, as_json, show::is_colored()))?;
                        left = left.map(|left| left.saturating_sub(1));
                        if left == Some(0) {
                            return Ok(());
                        }
                    }
                }
            }
            Err(error) if !connected || !may_pass(&error) => return Err(error),
            Err(_away) => {}
        }
        sleep(AGAIN).await;
    }
}

fn may_pass(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refusal>();
    error.downcast_ref::<NoAnswer>().is_some() || refused.is_some_and(|no| no.status == 503)
}

/// One event as a line.
fn line(data: &str, as_json: bool, colored: bool) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or(Value::Null);
    if as_json || event.is_null() {
        return format!("{}\n", show::cell(&Value::String(data.to_owned())));
    }
    let of = |name: &str| event.get(name).map(show::cell).filter(|text| !text.is_empty());
    let name = of("event").unwrap_or_default();
    let mut parts = vec![of("time").unwrap_or_default(), painted(&name, colored)];
    parts.extend(["type", "destination"].iter().filter_map(|field| of(field)));
    for (word, field) in [("delivery", "delivery"), ("attempt", "attempt"), ("missed", "missed")] {
        parts.extend(of(field).map(|value| format!("{word} {value}")));
    }
    parts.extend(of("reason"));
    parts.extend(of("retry_in_ms").map(|delay| format!("(again in {delay} ms)")));
    format!("{}\n", parts.join("  "))
}

fn painted(name: &str, colored: bool) -> String {
    let code = match name {
        "delivery.delivered" | "destination.resumed" => "32",
        "delivery.dead" | "missed" => "31",
        "delivery.retry" | "destination.paused" => "33",
        _ => return name.to_owned(),
    };
    if colored { format!("\u{1b}[{code}m{name}\u{1b}[0m") } else { name.to_owned() }
}

/// Server-sent events, as they come in pieces.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    /// The events that are whole now: id and data.
    fn feed(&mut self, bytes: &[u8]) -> Vec<(Option<String>, String)> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block).into_owned();
            let of = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
            };
            events.extend(of("data:").map(|data| (of("id:"), data)));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let wire =
            b"retry: 2000\n\n:\n\nid: h:1\nevent: x\ndata: {\"a\":1}\n\nid: h:2\ndata: {}\n\n";
        for cut in 0..wire.len() {
            let mut parser = Parser::default();
            let mut events = parser.feed(&wire[..cut]);
            events.extend(parser.feed(&wire[cut..]));
            let expected =
                [(Some("h:1".into()), "{\"a\":1}".into()), (Some("h:2".into()), "{}".into())];
            assert_eq!(events, expected, "{cut}");
        }
    }

    #[test]
    fn a_line_says_what_happened() {
        let data = r#"{"event":"delivery.retry","time":"T","type":"a","destination":"chat","delivery":7,"attempt":2,"reason":"503","retry_in_ms":5000}"#;
        assert_eq!(
            line(data, false, false),
            "T  delivery.retry  a  chat  delivery 7  attempt 2  503  (again in 5000 ms)\n"
        );
    }
}
