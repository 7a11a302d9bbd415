//! What requests may reach, and what receivers may do.

use std::time::{Duration, Instant};

use postrider_core::Outcome;

use crate::given::{fixture, logged, note, send, try_bind, watch_log};
use postrider_tests::receiver::{Behaviour, Receiver, answer};

async fn probe(receiver: &Receiver) -> String {
    note(&send(&fixture(&receiver.destination("probe")).await, "{\"a\":1}").await).to_owned()
}

#[tokio::test]
pub(crate) async fn a_granted_receiver_gets_the_notification() {
    let receiver = Receiver::ok().await;
    let sent = send(&fixture(&receiver.destination("post")).await, "{\"a\":1}").await;
    assert_eq!(note(&sent), "200 OK");
    let got = receiver.received();
    assert_eq!(got[0].line, "POST /hook HTTP/1.1");
    assert_eq!(got[0].text(), "{\"a\":1}");
    assert_eq!(got[0].header("host"), Some(receiver.address.to_string().as_str()));
    assert_eq!(got[0].header("webhook-id"), Some("00000000-0000-0000-0000-000000000007"));
}

#[tokio::test]
async fn connections_are_kept_and_belong_to_one_binding() {
    let receiver = Receiver::ok().await;
    let notifier = fixture(&receiver.destination("post")).await;
    for _ in 0..10 {
        assert_eq!(note(&send(&notifier, "{}").await), "200 OK");
    }
    // One for each worker thread at most.
    assert!(receiver.connections() <= 2, "{}", receiver.connections());
    let before = receiver.connections();
    assert_eq!(note(&send(&fixture(&receiver.destination("post")).await, "{}").await), "200 OK");
    assert_eq!(receiver.connections(), before + 1);
}

#[tokio::test]
pub(crate) async fn what_computes_for_long_keeps_its_connections_and_its_time() {
    let receiver = Receiver::ok().await;
    let toml = receiver.destination("grind").replace("\"1s\"", "\"10s\"");
    let notifier = fixture(&toml).await;
    for _ in 0..4 {
        let sent = send(&notifier, "{}").await;
        assert_eq!(note(&sent), "200 OK");
        let least = Duration::from_millis(100);
        assert!(sent.usage.elapsed >= least && !sent.usage.computed.is_zero(), "{sent:?}");
    }
    // They live on the worker's thread, not on the one that the calls went on to.
    assert!(receiver.connections() <= 2, "{}", receiver.connections());
    let hanging = Receiver::start(Behaviour::Hang).await;
    let sent = send(&fixture(&hanging.destination("grind")).await, "{}").await;
    let Outcome::Retry { reason, .. } = sent.outcome else { panic!("{sent:?}") };
    assert_eq!(reason, "no answer in time");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_a_timeout_that_the_guest_sees() {
    let receiver = Receiver::start(Behaviour::Hang).await;
    let started = Instant::now();
    let sent = send(&fixture(&receiver.destination("post")).await, "{}").await;
    let Outcome::Retry { reason, .. } = sent.outcome else { panic!("{sent:?}") };
    assert_eq!(reason, "no answer in time");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
pub(crate) async fn receivers_that_break_the_protocol_are_told_apart() {
    for (behaviour, seen) in [
        (Behaviour::BreakOff, "HttpError::Other("),
        (Behaviour::Garbage, "HttpError::Other("),
        (Behaviour::Flood, "HttpError::TooLarge"),
        (Behaviour::EndlessHead, "HttpError::TooLarge"),
        (answer("302 Found", "location: http://169.254.169.254/\r\n", ""), "302"),
    ] {
        let receiver = Receiver::start(behaviour).await;
        let note = probe(&receiver).await;
        assert!(note.starts_with(seen), "{seen}: {note}");
        assert_eq!(receiver.received().len(), 1, "{seen}");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_no_connection() {
    let receiver = Receiver::ok().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml =
        receiver.destination("probe").replace(&receiver.address.to_string(), &closed.to_string());
    let sent = send(&fixture(&toml).await, "{}").await;
    assert!(note(&sent).starts_with("HttpError::Connect("), "{}", note(&sent));
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_line_to_add() {
    watch_log();
    let receiver = Receiver::ok().await;
    let origin = receiver.origin();
    let ungranted =
        receiver.destination("probe").replace(&format!("\"{origin}\"]"), "\"https://a.test\"]");
    let notifier = try_bind("fixture", "ungranted", &ungranted, None).await.unwrap();
    let line = format!("allow = [\\\"https://a.test\\\", \\\"{origin}\\\"]");
    let sent = send(&notifier, "{}").await;
    assert!(
        note(&sent).starts_with("HttpError::Denied(") && note(&sent).contains(&line),
        "{}",
        note(&sent)
    );
    let lines = logged("ungranted");
    let plain = line.replace('\\', "");
    assert!(lines.iter().any(|l| l.contains("WARN") && l.contains(&plain)), "{lines:?}");

    let private = receiver.destination("probe").replace("allow_private = true", "");
    let sent = send(&fixture(&private).await, "{}").await;
    assert!(note(&sent).contains("add: allow_private = true"), "{}", note(&sent));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn names_are_checked_where_they_resolve() {
    let receiver = Receiver::ok().await;
    let port = receiver.address.port();
    let named = receiver.destination("probe").replace("127.0.0.1", "localhost");
    assert_eq!(note(&send(&fixture(&named).await, "{}").await), "200 thanks");
    let private = named.replace("allow_private = true", "");
    assert!(note(&send(&fixture(&private).await, "{}").await).contains("allow_private"));
    for (host, why) in [
        ("169.254.169.254", "no grant opens"),
        ("[::ffff:169.254.169.254]", "no grant opens"),
        ("0.0.0.0", "no grant opens"),
    ] {
        let toml = receiver.destination("probe").replace("127.0.0.1", host);
        let sent = send(&fixture(&toml).await, "{}").await;
        assert!(note(&sent).contains(why), "{host}: {}", note(&sent));
    }
    for odd in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"] {
        let toml = format!(
            "allow = [\"http://{odd}:{port}\"]\nallow_private = true\n[config]\ndo = \"probe\"\nurl = \"http://{odd}:{port}/\""
        );
        let sent = send(&fixture(&toml).await, "{}").await;
        assert!(note(&sent).contains("odd form of an address"), "{odd}: {}", note(&sent));
    }
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn our_own_listener_is_closed() {
    let toml = "allow = [\"http://127.0.0.1:1\"]\nallow_private = true\n\
                [config]\ndo = \"probe\"\nurl = \"http://127.0.0.1:1/\"";
    let sent = send(&fixture(toml).await, "{}").await;
    assert!(note(&sent).contains("postrider's own"), "{}", note(&sent));
}

#[tokio::test]
pub(crate) async fn requests_are_counted() {
    let receiver = Receiver::ok().await;
    let sent = send(&fixture(&receiver.destination("many-requests")).await, "{}").await;
    assert!(note(&sent).starts_with("10 of 100 answered; HttpError::Denied("), "{}", note(&sent));
    assert!(note(&sent).contains("requests = 20"), "{}", note(&sent));
    assert_eq!(receiver.received().len(), 10);
}

#[tokio::test]
async fn a_body_above_its_limit_is_not_sent() {
    let receiver = Receiver::ok().await;
    let toml = format!("limits.request_body = \"100\"\n{}", receiver.destination("probe"));
    let sent = send(&fixture(&toml).await, &format!("\"{}\"", "x".repeat(200))).await;
    assert!(
        note(&sent).starts_with("HttpError::Invalid(\"body is larger than 100 bytes"),
        "{}",
        note(&sent)
    );
    assert_eq!(receiver.received().len(), 0);
}

async fn wasi(toml: &str) -> String {
    let notifier = try_bind("fixture_wasi", "wasi", toml, None).await.unwrap();
    note(&send(&notifier, "{\"a\":1}").await).to_owned()
}

#[tokio::test]
pub(crate) async fn wasi_http_goes_through_the_same_door() {
    let receiver = Receiver::ok().await;
    let toml = receiver.destination("post");
    assert_eq!(wasi(&toml).await, "200");
    assert_eq!(receiver.received()[0].text(), "{\"a\":1}");
    let before = receiver.connections();
    assert!(wasi(&toml.replace("allow_private = true", "")).await.contains("HttpRequestDenied"));
    assert!(
        wasi(
            &toml
                .replace("allow = ", "fallback = ")
                .replace(&format!("fallback = [\"{}\"]", receiver.origin()), "")
        )
        .await
        .contains("HttpRequestDenied")
    );
    assert!(wasi(&format!("limits.requests = 0\n{toml}")).await.contains("HttpRequestDenied"));
    assert!(
        wasi(&format!("limits.request_body = \"3\"\n{toml}")).await.contains("HttpRequestBodySize")
    );
    assert_eq!(receiver.connections(), before);
    let hanging = Receiver::start(Behaviour::Hang).await;
    let seen = wasi(&hanging.destination("post")).await;
    assert!(seen.contains("ConnectionReadTimeout"), "{seen}");
}

#[tokio::test]
pub(crate) async fn wasi_grants_no_sockets_files_or_environment() {
    let receiver = Receiver::ok().await;
    let address = receiver.address;
    let socket =
        wasi(&format!("allow_private = true\n[config]\ndo = \"socket\"\naddress = \"{address}\""))
            .await;
    assert!(socket.starts_with("error:"), "{socket}");
    let file = wasi("[config]\ndo = \"file\"\npath = \"/etc/hostname\"").await;
    assert!(file.starts_with("error:"), "{file}");
    let environment = wasi("[config]\ndo = \"env\"").await;
    assert!(environment.starts_with("0 variables, 0 arguments"), "{environment}");
    assert_eq!(receiver.connections(), 0);
}
