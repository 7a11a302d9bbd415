//! What a test may rely on of its cluster.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use rustix::process::{Pid, Signal, kill_process};

/// What a client sends first: may we speak TLS? A server that lives answers `N`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[test]
fn what_was_committed_survives_a_crash_of_a_durable_cluster() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let url = cluster.create_database("queue").unwrap();
    assert_eq!(url, format!("postgres://postrider@127.0.0.1:{}/queue", cluster.port()));
    cluster.psql("queue", "create table t (a int, b text); insert into t values (1, 'x')").unwrap();
    let before = cluster.pid();

    cluster.restart_immediately().unwrap();

    assert_ne!(cluster.pid(), before);
    assert_eq!(cluster.psql("queue", "select * from t").unwrap(), "1|x");
    assert!(cluster.log().contains("automatic recovery in progress"), "{}", cluster.log());
}

#[test]
fn a_paused_cluster_answers_nobody_until_it_is_resumed() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    assert!(answers(&cluster));

    cluster.pause().unwrap();
    cluster.pause().unwrap();
    assert!(!answers(&cluster));

    cluster.resume().unwrap();
    assert!(answers(&cluster));

    cluster.pause().unwrap();
    cluster.restart_immediately().unwrap();
    assert!(answers(&cluster));
}

#[test]
fn a_stopped_cluster_comes_back_on_its_port() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    let port = cluster.port();
    cluster.psql("postgres", "create table t (); insert into t default values").unwrap();

    cluster.stop().unwrap();
    cluster.stop().unwrap();
    assert_eq!(cluster.pid(), None);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(cluster.pause().unwrap_err().to_string().contains("start_again"));

    cluster.start_again().unwrap();
    cluster.start_again().unwrap();
    assert_eq!(cluster.psql("postgres", "select count(*) from t").unwrap(), "1");
}

#[test]
fn a_server_that_was_killed_does_not_count_as_running() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let pid = Pid::from_raw(cluster.pid().unwrap().try_into().unwrap()).unwrap();

    kill_process(pid, Signal::KILL).unwrap();
    while cluster.pid().is_some() {
        std::thread::yield_now();
    }

    cluster.restart_immediately().unwrap();
    assert!(answers(&cluster));
}

#[test]
fn a_read_only_cluster_refuses_writes_until_it_is_none() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };

    cluster.set_read_only(true).unwrap();
    let error = cluster.psql("postgres", "create table t ()").unwrap_err();
    assert!(format!("{error:#}").contains("read-only transaction"), "{error:#}");

    cluster.set_read_only(false).unwrap();
    cluster.psql("postgres", "create table t ()").unwrap();
}

#[test]
fn a_replica_reads_until_it_is_promoted() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    cluster.stop().unwrap();

    cluster.start_as_replica().unwrap();
    assert_eq!(cluster.psql("postgres", "select pg_is_in_recovery()").unwrap(), "t");

    cluster.psql("postgres", "select pg_promote()").unwrap();
    cluster.psql("postgres", "create table t ()").unwrap();
}

#[test]
fn a_role_is_asked_for_its_password() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    cluster.psql("postgres", "create role app login").unwrap();

    cluster.ask_for_password("app").unwrap();

    let url = cluster.url().replace("postrider@", "app:wrong@");
    let psql = std::process::Command::new("psql").args(["-d", &url, "-c", ""]).output().unwrap();
    let said = String::from_utf8_lossy(&psql.stderr).into_owned();
    assert!(said.contains("password authentication failed for user \"app\""), "{said}");
}

#[test]
fn nothing_is_left_of_a_dropped_cluster() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };
    let (pid, directory) = (cluster.pid().unwrap(), cluster.directory().to_owned());

    let panicked = std::thread::spawn(move || {
        cluster.pause().unwrap();
        panic!("a test fails with its cluster paused");
    });

    assert!(panicked.join().is_err());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    assert!(!directory.exists());
}

#[test]
fn a_setting_the_server_refuses_is_quoted_from_its_log() {
    if Cluster::start_or_skip(Settings::quick()).is_none() {
        return;
    }
    let settings = Settings::quick().with("max_connections", "a few");

    let error = format!("{:#}", Cluster::start(settings).err().unwrap());

    assert!(error.contains(r#"invalid value for parameter "max_connections": "a few""#), "{error}");
}

#[test]
fn a_database_whose_url_would_need_quoting_is_refused() {
    let Some(cluster) = Cluster::start_or_skip(Settings::quick()) else { return };

    let error = cluster.create_database("a/b").unwrap_err();

    assert!(error.to_string().contains("would need quoting"), "{error}");
}

fn answers(cluster: &Cluster) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).is_ok()
}
