use std::time::Duration;

use postrider_tests::daemon::{Daemon, House, http};
use postrider_tests::receiver::Receiver;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::hooked;

async fn token(house: &House, name: &str, scope: &str) -> String {
    let (status, out, error) = house.run(&["token", "create", name, "--scope", scope]).await;
    assert!(status.success(), "{error}");
    out.trim().to_owned()
}

/// Of `prt_ID_SECRET`; a secret may hold an underscore, too.
fn secret(token: &str) -> &str {
    token.splitn(3, '_').nth(2).unwrap()
}

/// A daemon that other machines reach, and so one that asks for tokens.
async fn remote(house: &House) -> Daemon {
    let mut command = house.command();
    let socket = format!("unix:{}", house.path().join("api.sock").display());
    command.args(["serve", "--listen", &format!("0.0.0.0:0,{socket}")]);
    house.start_command(command).await
}

fn at(daemon: &Daemon, path: &str) -> String {
    format!("{}{path}", daemon.url().trim_end_matches(',').replace("0.0.0.0", "127.0.0.1"))
}

async fn asked(request: reqwest::RequestBuilder) -> (StatusCode, String) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// A problem without what names its request.
fn without_id(body: &str) -> Value {
    let mut problem: Value = serde_json::from_str(body).unwrap();
    assert!(problem.as_object_mut().unwrap().remove("request_id").is_some(), "{body}");
    problem
}

#[tokio::test]
async fn tokens_open_what_their_scopes_say_and_all_wrong_ones_get_one_answer() {
    let house = House::new();
    let admin = token(&house, "ops", "admin").await;
    let (status, ..) = house.run(&["token", "revoke", "nobody"]).await;
    assert_eq!(status.code(), Some(4), "there is no such thing, without a daemon too");
    let (status, _, error) =
        house.run(&["token", "create", "short", "--scope", "read", "--expires", "0s"]).await;
    assert!(!status.success() && error.contains("must be longer than 0"), "{error}");
    let daemon = remote(&house).await;
    let socket = format!("unix:{}", house.path().join("api.sock").display());
    // Through the running daemon, by its owner's socket.
    let made = ["token", "create", "prom", "--scope", "ingest", "--url", &socket];
    let (status, ingest, error) = house.run(&made).await;
    assert!(status.success(), "{error}");
    let ingest = ingest.trim().to_owned();
    let body = json!({"type": "a"}).to_string();
    let post = |token: &str| {
        http().post(at(&daemon, "/v1/notifications")).bearer_auth(token).body(body.clone())
    };
    assert_eq!(asked(post(&ingest)).await.0, StatusCode::CREATED);
    assert_eq!(asked(post(&admin)).await.0, StatusCode::CREATED);
    let read = http().get(at(&daemon, "/v1/notifications")).bearer_auth(&ingest);
    let (status, text) = asked(read).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("scope \\\"read\\\""), "{text}");
    // Nothing, no token, an unknown one, another's secret, another scheme, and one that is revoked.
    let secret = secret(&admin);
    let head = admin.strip_suffix(secret).unwrap();
    let mut answers = vec![asked(http().get(at(&daemon, "/v1/notifications"))).await];
    let turned: String = secret.chars().rev().collect();
    for wrong in ["x", &format!("prt_0000000000000000_{secret}"), &format!("{head}{turned}")] {
        answers.push(asked(http().get(at(&daemon, "/v1/notifications")).bearer_auth(wrong)).await);
    }
    let basic = http().get(at(&daemon, "/v1/notifications")).basic_auth("ops", Some(&admin));
    answers.push(asked(basic).await);
    let (status, ..) = house.run(&["token", "revoke", "prom", "--url", &socket]).await;
    assert!(status.success());
    answers.push(asked(post(&ingest)).await);
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::UNAUTHORIZED), "{answers:?}");
    let mut answers: Vec<Value> = answers.iter().map(|(_, body)| without_id(body)).collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (_, audit, _) = house.run(&["audit", "--json", "--url", &socket]).await;
    let audit: Value = serde_json::from_str(&audit).unwrap();
    let actions: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["token.revoke", "token.create", "token.create"]);
    assert!(audit["items"][0]["actor"].as_str().unwrap().starts_with("uid "), "{audit}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_page_shows_its_token_once() {
    let house = House::new();
    let admin = token(&house, "ops", "read").await;
    let daemon = remote(&house).await;
    let form = |token: &str| {
        let form = http().post(at(&daemon, "/login"));
        form.header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
    };
    assert_eq!(asked(form("prt_x")).await.0, StatusCode::UNAUTHORIZED);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    let login = client.build().unwrap().execute(form(&admin).build().unwrap()).await.unwrap();
    assert_eq!(login.status(), StatusCode::SEE_OTHER);
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(secret(&admin)), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let with = |site: &'static str| {
        http().get(at(&daemon, "/v1/hosts")).header("cookie", cookie).header("sec-fetch-site", site)
    };
    assert_eq!(asked(with("same-origin")).await.0, StatusCode::OK);
    assert_eq!(asked(with("cross-site")).await.0, StatusCode::FORBIDDEN);
    let answer = with("same-origin").send().await.unwrap();
    assert!(
        answer.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'self'")
    );
}

#[tokio::test]
async fn forged_hosts_and_origins_are_refused() {
    let house = House::new();
    let daemon = house.start().await;
    for (name, value) in [
        ("host", "rebound.example"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = http().post(format!("{}/v1/notifications", daemon.url()));
        let request = request.header(name, value).body(r#"{"type":"a"}"#);
        assert_eq!(asked(request).await.0, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let (_, listed) = daemon.get("/v1/notifications").await;
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn https_serves_the_certificate_that_lies_there() {
    let house = House::new();
    let pems = concat!(env!("CARGO_MANIFEST_DIR"), "/pems/");
    let mut command = house.command();
    command.args(["serve", "--listen", "127.0.0.1:0,https://127.0.0.1:0"]);
    command.env("POSTRIDER_TLS_CERT", format!("{pems}server.pem"));
    command.env("POSTRIDER_TLS_KEY", format!("{pems}server.pem"));
    let daemon = house.start_command(command).await;
    let ready = daemon.line("ready at ").await;
    let url = ready.split_whitespace().find(|word| word.starts_with("https://")).unwrap();
    let authority = std::fs::read(format!("{pems}ca.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    // It has the process use a provider of TLS.
    let _provided = http();
    let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
    let answer = client.get(format!("{url}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// 500 requests that never end, a body of 1 GB and one nested 100,000 deep: a good client is served beside them.
#[tokio::test]
async fn slow_and_large_clients_cost_their_sockets_and_no_more() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let address = daemon.url().strip_prefix("http://").unwrap().to_owned();
    let alone = worst(&daemon).await;
    let before = memory(&daemon);
    let mut slow = Vec::new();
    for number in 0..500 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head: &[u8] = match number % 2 {
            0 => b"POST /v1/notifications HTTP/1.1\r\nHost: local",
            _ => b"POST /v1/notifications HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{\"type\":",
        };
        stream.write_all(head).await.unwrap();
        slow.push(stream);
    }
    let large = tokio::spawn(large(address.clone()));
    let deep = format!(r#"{{"type":"a","content":{}}}"#, "[".repeat(100_000));
    let (status, _) = daemon.post("/v1/notifications", deep).await;
    assert_eq!(status, 400);
    let (status, _) = daemon.post("/v1/notifications", &b"{\"type\":\"\xff\"}"[..]).await;
    assert_eq!(status, 400);
    let beside = worst(&daemon).await;
    assert!(timeout(Duration::from_secs(60), large).await.unwrap().unwrap().contains(" 413 "));
    let floor = Duration::from_millis(100);
    assert!(beside <= alone.max(floor) * 3, "alone {alone:?}, beside slow clients {beside:?}");
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown <= 100 << 10, "grew by {grown} KiB");
    drop(slow);
    assert!(daemon.stop().await.success());
}

/// Sends a gigabyte until it is refused; answers the head of the answer.
async fn large(address: String) -> String {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head =
        "POST /v1/db/prune HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let chunk = vec![b' '; 1 << 20];
    let sending = async { while writer.write_all(&chunk).await.is_ok() {} };
    let mut answer = vec![0; 1_024];
    let reading = async {
        let read = reader.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    tokio::select! {
        biased;
        answer = reading => answer,
        () = async { sending.await; std::future::pending::<()>().await } => String::new(),
    }
}

/// The p99 of a good client.
async fn worst(daemon: &Daemon) -> Duration {
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let (status, _) = daemon.post("/v1/notifications", r#"{"type":"a"}"#).await;
        assert_eq!(status, 201);
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// Resident memory, in KiB.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
