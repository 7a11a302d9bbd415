//! Beginning, settings that change, and what a service manager sees.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use postrider_tests::daemon::{Daemon, House, PATIENCE, binary};
use postrider_tests::receiver::{Behaviour, Receiver};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;
use tokio::time::timeout;

use crate::hooked;

const NEXT: &str = "changed settings are in force";

fn configured(house: &House, settings: &str) -> Command {
    write(house, settings);
    let mut command = house.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "postrider.toml"]);
    command
}

fn write(house: &House, settings: &str) {
    std::fs::write(house.path().join("postrider.toml"), settings).unwrap();
}

/// Waits for a message that begins so, and answers it.
async fn heard(socket: &UnixDatagram, wanted: &str) -> String {
    let mut buffer = [0; 1_024];
    let hearing = async {
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.starts_with(wanted) {
                return message;
            }
        }
    };
    timeout(PATIENCE, hearing).await.expect(wanted)
}

#[tokio::test]
async fn the_settings_that_init_writes_start_a_daemon_that_is_well() {
    let house = House::new();
    let (status, said, error) = house.run(&["init", "--data-dir", "kept"]).await;
    assert!(status.success(), "{error}");
    assert!(said.contains("go into kept/plugins"), "{said}");
    assert!(house.path().join("kept/plugins").is_dir());
    let (status, _, error) = house.run(&["init"]).await;
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("postrider.toml is there already and stays as it is"), "{error}");
    let (status, printed, _) = house.run(&["init", "--path", "-", "--data-dir", "kept"]).await;
    assert!(status.success());
    assert_eq!(printed, std::fs::read_to_string(house.path().join("postrider.toml")).unwrap());

    let mut command = house.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "postrider.toml"]);
    let daemon = house.start_command(command).await;
    assert!(house.path().join("kept/postrider.db").exists());
    daemon.until("/readyz", |answer| answer["ready"] == true).await;
    let url = daemon.url().to_owned();
    let (status, said, error) = house.run(&["health", "--url", &url]).await;
    assert_eq!((status.code(), said.as_str()), (Some(0), "ready\n"), "{error}");
    let (status, said, _) = house.run(&["health", "--live", "--url", &url]).await;
    assert_eq!((status.code(), said.as_str()), (Some(0), "live\n"));
    daemon.stop().await;
    let (status, ..) = house.run(&["health", "--url", &url]).await;
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn a_reload_takes_all_of_a_good_file_and_nothing_of_a_bad_one() {
    let receiver = Receiver::start(Behaviour::Hang).await;
    let house = hooked(&receiver, "");
    let daemon = house.start_command(configured(&house, "log_level = 'info'")).await;
    let enqueue =
        async |daemon: &Daemon| daemon.post("/v1/notifications", r#"{"type":"x"}"#).await.0;
    assert_eq!(enqueue(&daemon).await, 201);

    write(&house, "max_queue = 1\nlog_levle = 'debug'");
    daemon.signal(Signal::HUP);
    let line = daemon.line("the settings were not taken").await;
    assert!(line.contains("postrider.toml: line 2: unknown key"), "{line}");
    assert!(line.contains("did you mean \"log_level\"?"), "{line}");
    let settings = daemon.get("/readyz").await.1["settings"].clone();
    assert_eq!(settings, json!({"refused": true, "need_restart": []}));
    assert_eq!(enqueue(&daemon).await, 201, "the queue has no limit still");

    write(&house, "max_queue = 1\nlog_level = 'info,postrider::settings=warn'\nlease = '20s'");
    daemon.signal(Signal::HUP);
    daemon
        .until("/readyz", |answer| {
            answer["settings"] == json!({"refused": false, "need_restart": ["lease"]})
        })
        .await;
    let line = daemon.line("these changed settings need a restart").await;
    assert!(line.contains("lease"), "{line}");
    // The new level hides it already.
    assert!(!daemon.log().iter().any(|line| line.contains(NEXT)));
    let full = async {
        while enqueue(&daemon).await != 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, full).await.expect("max_queue in force");

    write(&house, "lease = '20s'");
    daemon.signal(Signal::HUP);
    let line = daemon.line(NEXT).await;
    assert!(line.contains("log_level, max_queue"), "{line}");
    assert_eq!(enqueue(&daemon).await, 201);
    daemon.kill().await;
}

#[tokio::test]
async fn the_service_manager_hears_that_it_is_ready_lives_reloads_and_stops() {
    let house = House::new();
    let socket = UnixDatagram::bind(house.path().join("notify")).unwrap();
    let mut command = configured(&house, "");
    command.env("NOTIFY_SOCKET", house.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let daemon = house.start_command(command).await;
    heard(&socket, "READY=1").await;
    heard(&socket, "STATUS=delivering").await;
    heard(&socket, "WATCHDOG=1").await;
    heard(&socket, "WATCHDOG=1").await;
    daemon.signal(Signal::HUP);
    let reloading = heard(&socket, "RELOADING=1").await;
    let at = reloading.split("MONOTONIC_USEC=").nth(1).unwrap();
    assert!(at.parse::<u64>().unwrap() > 0);
    heard(&socket, "READY=1").await;
    daemon.signal(Signal::TERM);
    heard(&socket, "STOPPING=1").await;
    assert_eq!(daemon.end().await.code(), Some(0));
}

/// A daemon that gets a listener the way of systemd: as descriptor 3, with its own process named.
async fn activated(house: &House, listener: std::net::TcpListener) -> Daemon {
    const HAND_OVER: &str =
        r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve --listen 127.0.0.1:1"#;
    let mut command = house.command_of("sh");
    command.args(["-c", HAND_OVER]).arg(binary());
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    house.start_command(command).await
}

#[tokio::test]
async fn a_socket_of_the_service_manager_keeps_callers_while_the_daemon_restarts() {
    let house = House::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let daemon = activated(&house, listener.try_clone().unwrap()).await;
    assert_eq!(daemon.url(), url);
    daemon.stop().await;
    // Nobody serves now, and a caller waits rather than being refused.
    let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    let daemon = activated(&house, listener).await;
    let mut answer = String::new();
    timeout(PATIENCE, caller.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_credential_of_the_service_manager_is_a_secret() {
    let receiver = Receiver::ok().await;
    let credential =
        "config.headers.x-room = '{{secret:room}}'\nsecrets.room = { credential = 'room' }";
    let house = hooked(&receiver, credential);
    let directory = house.path().join("credentials");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("room"), "blue\n").unwrap();
    let mut serve = house.command();
    serve.args(["serve", "--listen", "127.0.0.1:0"]).env("CREDENTIALS_DIRECTORY", directory);
    let daemon = house.start_command(serve).await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(1, PATIENCE).await;
    assert_eq!(receiver.received()[0].header("x-room"), Some("blue"));
    assert!(daemon.stop().await.success());
}
