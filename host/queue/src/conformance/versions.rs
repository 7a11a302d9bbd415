//! Versions of plugins, and the quarantine.

use super::*;
use crate::versions::{Quarantine, QuarantineRecord, VERSIONS_KEPT, VersionRecord, VersionSeen};

fn seen(hash: &str) -> VersionSeen {
    VersionSeen {
        plugin: "slack".into(),
        hash: hash.into(),
        version: "1.0.0".into(),
        predecessor: None,
        tried: 0,
        faults: 0,
        worked: false,
    }
}

fn module(hash: &str) -> Quarantine {
    Quarantine {
        hash: hash.into(),
        plugin: "slack".into(),
        version: "1.0.0".into(),
        reason: "it \"traps\"".into(),
    }
}

async fn tell(stage: &Stage, told: &VersionSeen) -> VersionSeen {
    stage.queue.tell_version(told).await.unwrap().seen
}

async fn hashes(stage: &Stage) -> Vec<String> {
    let quarantined = stage.queue.quarantined().await.unwrap();
    quarantined.into_iter().map(|record| record.module.hash).collect()
}

pub(crate) async fn what_is_seen_of_a_version_adds_up(stage: &Stage) {
    assert_eq!(stage.queue.versions().await.unwrap(), []);
    let first = VersionSeen { tried: 2, faults: 1, ..seen("aa") };
    let told = stage.queue.tell_version(&first).await.unwrap();
    assert_eq!(told, VersionRecord { seen: first.clone(), since: EPOCH });
    stage.advance(MINUTE);
    let more = VersionSeen { tried: 3, faults: 2, worked: true, ..seen("aa") };
    let sum = VersionSeen { tried: 5, faults: 3, worked: true, ..seen("aa") };
    assert_eq!(tell(stage, &more).await, sum);
    // It worked once and for all.
    assert_eq!(tell(stage, &seen("aa")).await, sum);
    let other = VersionSeen { plugin: "email".into(), ..seen("aa") };
    assert_eq!(tell(stage, &other).await, other);
    let versions = stage.queue.versions().await.unwrap();
    let since = EPOCH + MINUTE;
    assert_eq!(
        versions,
        [VersionRecord { seen: other, since }, VersionRecord { seen: sum, since: EPOCH }]
    );
}

pub(crate) async fn a_predecessor_is_kept_until_another_is_told(stage: &Stage) {
    let second = VersionSeen { predecessor: Some("aa".into()), ..seen("bb") };
    tell(stage, &second).await;
    assert_eq!(tell(stage, &seen("bb")).await, second);
    let third = VersionSeen { predecessor: Some("cc".into()), ..seen("bb") };
    assert_eq!(tell(stage, &third).await, third);
}

pub(crate) async fn the_oldest_versions_are_forgotten(stage: &Stage) {
    tell(stage, &seen("first")).await;
    tell(stage, &VersionSeen { plugin: "email".into(), ..seen("other") }).await;
    for n in 0..VERSIONS_KEPT + 5 {
        stage.advance(Duration::from_millis(1));
        let predecessor = Some("first".to_owned());
        tell(stage, &VersionSeen { predecessor, ..seen(&format!("{n:02}")) }).await;
    }
    let versions = stage.queue.versions().await.unwrap();
    let of = |plugin: &str| {
        let of = versions.iter().filter(|version| version.seen.plugin == plugin);
        of.map(|version| version.seen.hash.clone()).collect::<Vec<_>>()
    };
    let mut kept: Vec<String> = (5..VERSIONS_KEPT + 5).rev().map(|n| format!("{n:02}")).collect();
    kept.push("first".to_owned());
    assert_eq!((of("slack"), of("email")), (kept, vec!["other".to_owned()]));
}

pub(crate) async fn a_module_is_quarantined_once_and_for_every_plugin(stage: &Stage) {
    assert_eq!(hashes(stage).await, [""; 0]);
    assert!(stage.queue.quarantine(&module("aa"), false).await.unwrap());
    stage.advance(MINUTE);
    let again = Quarantine { plugin: "email".into(), reason: "again".into(), ..module("aa") };
    assert!(!stage.queue.quarantine(&again, false).await.unwrap());
    assert!(stage.queue.quarantine(&module("bb"), true).await.unwrap());
    assert_eq!(hashes(stage).await, ["bb", "aa"]);
    let first = QuarantineRecord { module: module("aa"), since: EPOCH };
    assert_eq!(stage.queue.quarantined().await.unwrap()[1], first);
}

pub(crate) async fn what_worked_anywhere_is_quarantined_by_hand_only(stage: &Stage) {
    tell(stage, &VersionSeen { faults: 3, ..seen("aa") }).await;
    tell(stage, &VersionSeen { plugin: "email".into(), worked: true, ..seen("aa") }).await;
    assert!(!stage.queue.quarantine(&module("aa"), true).await.unwrap());
    assert_eq!(hashes(stage).await, [""; 0]);
    assert!(stage.queue.quarantine(&module("aa"), false).await.unwrap());
}

pub(crate) async fn what_is_released_begins_anew(stage: &Stage) {
    let bad = VersionSeen { predecessor: Some("00".into()), tried: 5, faults: 3, ..seen("aa") };
    tell(stage, &bad).await;
    assert!(!stage.queue.release_module("aa").await.unwrap());
    stage.queue.quarantine(&module("aa"), true).await.unwrap();
    stage.queue.quarantine(&module("bb"), true).await.unwrap();
    assert!(stage.queue.release_module("aa").await.unwrap());
    assert!(!stage.queue.release_module("aa").await.unwrap());
    assert_eq!(hashes(stage).await, ["bb"]);
    let fresh = VersionSeen { tried: 0, faults: 0, ..bad };
    assert_eq!(tell(stage, &seen("aa")).await, fresh);
    assert!(stage.queue.quarantine(&module("aa"), true).await.unwrap());
}
