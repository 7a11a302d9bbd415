//! The database's disk is full: callers are told to come back, and what was accepted is delivered once there is room.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fmt::Write as _;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, PATIENCE};
use postrider_tests::dice::Dice;
use postrider_tests::receiver::Receiver;

use crate::bad_database::{Answered, offer_of, taken, until};
use crate::hooked;
use crate::small_disk::SmallDisk;

/// As of an outage of any kind.
const LINES: usize = 6;

#[tokio::test]
async fn sqlite_on_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let directory = house.path().join("small");
    let Some(disk) = SmallDisk::mount_or_skip(&directory, 4, house.path()) else { return };
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database"];
    let mut command = house.command();
    command.args(serve).arg("sqlite:small/postrider.db");
    // The whole disk is below the floor that would keep it from filling up.
    command.env("POSTRIDER_MIN_FREE_DISK", "0");
    let daemon = house.start_command(command).await;

    fill_and_make_room(&daemon, &receiver, &disk, || {
        // Nor does a second one start here.
        let second = house.command().args(serve).arg("sqlite:small/second.db").output();
        async move {
            let second = second.await.unwrap();
            let error = String::from_utf8(second.stderr).unwrap();
            assert_eq!(second.status.code(), Some(1), "{error}");
            assert!(
                error.trim().lines().count() == 1 && error.contains("No space left"),
                "{error}"
            );
        }
    })
    .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_on_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    let directory = cluster.directory().join("small");
    let data = cluster.directory().join("data");
    let Some(disk) = SmallDisk::mount_or_skip(&directory, 24, &data) else { return };
    let tablespace = format!("create tablespace small location '{}'", directory.display());
    cluster.psql("postgres", &tablespace).unwrap();
    cluster.psql("postgres", "create database q tablespace small").unwrap();
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let mut command = house.command();
    command.env("POSTRIDER_DATABASE", cluster.url_of("q"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let daemon = house.start_command(command).await;

    fill_and_make_room(&daemon, &receiver, &disk, async || ()).await;
    assert!(daemon.stop().await.success());
    // The disk goes only when nobody uses it.
    drop(cluster);
}

async fn fill_and_make_room(
    daemon: &Daemon,
    receiver: &Receiver,
    disk: &SmallDisk,
    meanwhile: impl AsyncFnOnce(),
) {
    let logged = daemon.log().len();
    let mut accepted = 0;
    disk.fill();
    let refused = until(async || {
        let Answered { status, text } = offer_of(daemon.url().to_owned(), &noise()).await.unwrap();
        accepted += usize::from(status == 201);
        (status == 503).then_some(text)
    });
    let text = refused.await.unwrap();
    assert!(text.contains("full; make room there"), "{text}");
    daemon.line("full; make room there").await;
    meanwhile().await;

    disk.make_room();
    taken(daemon.url()).await;
    receiver.until(accepted + 1, PATIENCE).await;
    daemon.until_empty().await;
    let log = daemon.log();
    let lines = log.get(logged..).unwrap_or_default();
    assert!(lines.len() <= LINES, "{} lines:\n{}", lines.len(), lines.join("\n"));
}

/// Fifty kilobytes that cannot be compressed.
fn noise() -> String {
    let mut dice = Dice::new(Dice::seed());
    (0..12_000).fold(String::new(), |mut noise, _| {
        write!(noise, "{:04x}", dice.below(1 << 16)).ok();
        noise
    })
}
