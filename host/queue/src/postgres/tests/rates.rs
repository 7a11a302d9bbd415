//! One rate for all hosts.

use super::*;
use crate::{Queue, RateAsk};

fn ask(wanted: u32, unused: u32) -> RateAsk {
    RateAsk { destination: "x".to_owned(), wanted, unused, per_second: 10.0 }
}

async fn taken(queue: &PostgresQueue, wanted: u32, unused: u32) -> u32 {
    queue.take_rate(&[ask(wanted, unused)]).await.unwrap()[0]
}

#[tokio::test]
async fn hosts_share_a_bucket_that_fills_by_the_databases_clock() {
    let Some(stand) = PostgresStand::new() else { return };
    let one = stand.open(PostgresOptions::default()).await;
    let other = stand.open(PostgresOptions::default()).await;
    assert_eq!(taken(&one, 64, 0).await, 1, "the first is due at once");
    assert_eq!(taken(&other, 64, 0).await, 0);
    stand.advance(Duration::from_millis(300));
    assert_eq!(taken(&other, 2, 0).await, 2);
    assert_eq!(taken(&one, 64, 0).await, 1);
    stand.advance(Duration::from_secs(60));
    assert_eq!(taken(&one, 64, 0).await, 10, "one second's worth");
    assert_eq!(taken(&other, 64, 0).await, 0);
    assert_eq!(taken(&one, 0, 7).await, 0, "brought back");
    assert_eq!(taken(&other, 64, 0).await, 7);
}

#[tokio::test]
async fn a_half_token_that_came_too_early_is_owed() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let mut begun = taken(&queue, 64, 0).await;
    for _ in 0..100 {
        stand.advance(Duration::from_millis(50));
        begun += taken(&queue, 64, 0).await;
    }
    // Five seconds at ten, and the first.
    assert!((50..=52).contains(&begun), "{begun}");
}

#[tokio::test]
async fn each_of_many_asks_is_answered_in_its_place() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let of = |destination: &str, wanted| RateAsk {
        destination: destination.to_owned(),
        ..ask(wanted, 0)
    };
    let granted = queue.take_rate(&[of("b", 0), of("a", 5), of("c", 1)]).await.unwrap();
    assert_eq!(granted, [0, 1, 1]);
}
