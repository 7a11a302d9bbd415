//! Hosts that tell of themselves, and what they keep from being orphaned.

use super::*;
use crate::{HOST_FORGOTTEN, HOST_SILENT, HostBeat, HostRecord, KeptDestination};

fn beat(id: u128, destinations: &[&str]) -> HostBeat {
    HostBeat {
        id: HostId(Uuid::from_u128(id)),
        name: format!("machine-{id}"),
        version: "0.1.0".into(),
        listen: "127.0.0.1:7411".into(),
        destinations: destinations.iter().map(|&name| name.to_owned()).collect(),
    }
}

async fn tell(stage: &Stage, id: u128, destinations: &[&str]) {
    stage.queue.beat(&beat(id, destinations)).await.unwrap();
}

async fn keep(stage: &Stage, names: &[&str]) {
    let kept = names.iter().map(|&name| KeptDestination {
        name: name.into(),
        text: String::new(),
        module: String::new(),
    });
    stage.queue.keep_destinations(&kept.collect::<Vec<_>>()).await.unwrap();
}

async fn kept(stage: &Stage) -> Vec<String> {
    let kept = stage.queue.kept_destinations().await.unwrap();
    kept.into_iter().map(|kept| kept.name).collect()
}

pub(crate) async fn hosts_are_listed_with_what_they_last_told(stage: &Stage) {
    assert_eq!(stage.queue.hosts().await.unwrap(), []);
    tell(stage, 1, &["slack"]).await;
    stage.advance(HOST_SILENT / 2);
    tell(stage, 2, &[]).await;
    tell(stage, 1, &["email", "slack"]).await;
    stage.advance(HOST_SILENT - Duration::from_millis(1));
    tell(stage, 2, &[]).await;
    let (first, second) = (EPOCH + HOST_SILENT / 2, stage.queue.hosts().await.unwrap());
    let one =
        HostRecord { told: beat(1, &["email", "slack"]), started: EPOCH, seen: first, live: true };
    assert_eq!(second[1], one);
    assert_eq!((second[0].told.clone(), second[0].started), (beat(2, &[]), first));
    stage.advance(Duration::from_millis(1));
    let live: Vec<bool> = stage.queue.hosts().await.unwrap().iter().map(|host| host.live).collect();
    assert_eq!(live, [true, false]);
}

pub(crate) async fn a_host_that_leaves_or_was_silent_for_long_is_forgotten(stage: &Stage) {
    for id in 1..=3 {
        tell(stage, id, &[]).await;
    }
    stage.queue.leave(HostId(Uuid::from_u128(2))).await.unwrap();
    stage.queue.leave(HostId(Uuid::from_u128(9))).await.unwrap();
    let names = async || {
        let hosts = stage.queue.hosts().await.unwrap();
        hosts.into_iter().map(|host| host.told.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["machine-1", "machine-3"]);
    stage.advance(HOST_FORGOTTEN);
    tell(stage, 3, &[]).await;
    assert_eq!(names().await.len(), 2);
    stage.advance(Duration::from_millis(1));
    tell(stage, 3, &[]).await;
    assert_eq!(names().await, ["machine-3"]);
}

pub(crate) async fn what_a_live_host_has_in_force_no_other_removes(stage: &Stage) {
    keep(stage, &["email", "slack"]).await;
    tell(stage, 1, &["email", "slack"]).await;
    keep(stage, &["email"]).await;
    tell(stage, 2, &["email"]).await;
    assert_eq!(kept(stage).await, ["email", "slack"]);
    // The one that has it is gone, and nobody reloads: the other's beat tells.
    stage.advance(HOST_SILENT);
    tell(stage, 2, &["email"]).await;
    assert_eq!(kept(stage).await, ["email"]);
    // It was only stopped for a while.
    tell(stage, 1, &["email", "slack"]).await;
    assert_eq!(kept(stage).await, ["email", "slack"]);
    // Now it has it no more either.
    tell(stage, 1, &["email"]).await;
    assert_eq!(kept(stage).await, ["email"]);
}

pub(crate) async fn the_time_of_an_orphan_starts_when_no_live_host_has_it(stage: &Stage) {
    keep(stage, &["slack"]).await;
    tell(stage, 1, &["slack"]).await;
    stage.enqueue(&["slack"]).await;
    keep(stage, &[]).await;
    stage.advance(HOST_SILENT);
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    tell(stage, 2, &[]).await;
    stage.advance(MINUTE - Duration::from_millis(1));
    tell(stage, 2, &[]).await;
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    stage.advance(Duration::from_millis(1));
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 1);
}
