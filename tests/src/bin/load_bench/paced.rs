//! Producers at a given rate, whatever becomes of what they hand in: for latencies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postrider_tests::wire::Wire;
use tokio::time::{Instant, sleep_until};

use crate::process::now;
use crate::running::Running;
use crate::setup::Order;

/// A notification that was taken in.
pub(crate) struct Sent {
    pub(crate) id: String,
    /// When it was sent, and when the answer said that it is committed.
    pub(crate) posted: u64,
    pub(crate) committed: u64,
    /// How many requests it makes that come.
    pub(crate) arrivals: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Notifications a second over all connections.
    pub(crate) rate: f64,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

/// Hands in round robin, each connection at its own moments.
pub(crate) async fn send(running: &Running, pace: Pace) -> Result<Vec<Sent>> {
    let (orders, addresses) = (Arc::new(running.setup.orders()), running.addresses());
    let start = Instant::now();
    let producer = |(number, address): (usize, &SocketAddr)| {
        tokio::spawn(produce(*address, orders.clone(), number, pace, start))
    };
    let producers = addresses.iter().cycle().take(pace.connections).enumerate().map(producer);
    let mut all = Vec::new();
    for producer in producers.collect::<Vec<_>>() {
        all.append(&mut producer.await.context("a producer was refused")?);
    }
    Ok(all)
}

async fn produce(
    address: SocketAddr,
    orders: Arc<Vec<Order>>,
    number: usize,
    pace: Pace,
    start: Instant,
) -> Vec<Sent> {
    let mut wire = Wire::connect(address).await;
    let mut sent = Vec::new();
    for (round, order) in orders.iter().cycle().skip(number % orders.len()).enumerate() {
        let place = (number + round * pace.connections) as f64;
        let due = Duration::from_secs_f64(place / pace.rate);
        if due >= pace.time {
            break;
        }
        sleep_until(start + due).await;
        let posted = now();
        let answer = wire.ask(&order.request).await;
        let (committed, id) = (now(), id(&answer).expect("an answer with an id"));
        sent.push(Sent { id, posted, committed, arrivals: order.arrivals });
    }
    sent
}

fn id(answer: &[u8]) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (_, after) = answer.split_once("\"id\":\"")?;
    Some(after.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_the_answer() {
        assert_eq!(id(br#"{"deliveries":1,"id":"01-a"}"#).as_deref(), Some("01-a"));
        assert!(id(b"{}").is_none());
    }
}
