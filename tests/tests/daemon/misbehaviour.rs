use postrider_tests::daemon::{Daemon, PATIENCE};
use postrider_tests::modules::module;
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::hooked;

/// What a guest may do, and how its one attempt ends. Those that are delivered were denied what they wanted, and take
/// it well; the sandbox's tests look at what they were told.
const FIXTURE: [(&str, &str); 15] = [
    ("trap", "dead"),
    ("panic", "dead"),
    ("exit", "dead"),
    ("loop", "dead"),
    ("host-call-loop", "dead"),
    ("memory-bomb", "dead"),
    ("native-recursion", "dead"),
    ("shadow-recursion", "dead"),
    ("log-flood", "dead"),
    ("long-log-line", "dead"),
    ("big-answer", "dead"),
    ("sleep", "dead"),
    ("many-requests", "delivered"),
    ("exfiltrate", "dead"),
    ("state-flood", "delivered"),
];
const FIXTURE_WASI: [(&str, &str); 6] = [
    ("handles", "dead"),
    ("header", "dead"),
    ("stdout", "delivered"),
    ("socket", "delivered"),
    ("file", "delivered"),
    ("env", "delivered"),
];
/// Destinations whose module never lets them begin.
const CONFIGURE: [&str; 4] = ["no", "error", "trap", "loop"];
/// Memory that may stay with the daemon after all of it, in KiB.
const MAX_GROWTH: u64 = 30 << 10;

/// Connections that may stay with the daemon: pools of the API's, the receiver's and the database's clients.
const MAX_CONNECTIONS: usize = 8;
/// Other files that may be open for a moment: a look at the directory, at a destination file.
const MAX_PASSING: usize = 2;

/// Resident memory in KiB, open connections (sockets and files of the database), and all other open files.
fn held(daemon: &Daemon) -> (u64, usize, Vec<String>) {
    let proc = format!("/proc/{}", daemon.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let resident = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let open = std::fs::read_dir(format!("{proc}/fd")).unwrap();
    // A file may be closed between the two looks.
    let open = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let open = open.map(|target| target.to_string_lossy().into_owned());
    let (connections, mut files): (Vec<_>, Vec<_>) =
        open.partition(|target| target.starts_with("socket:") || target.contains(".db"));
    files.sort_unstable();
    (resident, connections.len(), files)
}

/// Waits for the end of the newest delivery of a destination.
async fn end(daemon: &Daemon, destination: &str) -> String {
    let path = format!("/v1/deliveries?destination={destination}&limit=1");
    let state = |d: &Value| d["items"][0]["state"].as_str().unwrap_or_default().to_owned();
    state(&daemon.until(&path, |d| ["dead", "delivered"].contains(&state(d).as_str())).await)
}

/// Every 97th byte is another one.
fn mutated(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in bytes.iter_mut().skip(8).step_by(97) {
        *byte ^= 0x55;
    }
    bytes
}

#[tokio::test]
async fn whatever_a_guest_does_the_daemon_and_a_healthy_destination_do_not_notice() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "match.type = \"*\"");
    house.put_module("fixture", "fixture");
    house.put_module("fixture_wasi", "fixture_wasi");
    let victim = Receiver::ok().await;
    let elsewhere = Receiver::ok().await;
    let (url, evil) = (victim.origin(), elsewhere.origin());
    let misbehaving = FIXTURE.map(|(doing, state)| ("fixture", doing, state));
    let misbehaving_wasi = FIXTURE_WASI.map(|(doing, state)| ("fixture_wasi", doing, state));
    let all: Vec<_> = misbehaving.into_iter().chain(misbehaving_wasi).collect();
    for (guest, doing, _) in &all {
        // A slow machine must not turn the other ends into time-outs; the log flood meets its end by time.
        let timeout = if ["loop", "host-call-loop", "sleep", "log-flood"].contains(doing) {
            "500ms"
        } else {
            "15s"
        };
        house.put(
            &format!("{doing}.toml"),
            format!(
                "plugin = \"{guest}\"\nmatch.type = \"{doing}\"\npolicy.attempts = 1\npolicy.timeout = \"{timeout}\"\n\
                 limits.memory = \"32MiB\"\nallow = [\"{url}\"]\nallow_private = true\n[config]\ndo = \"{doing}\"\n{}",
                if *guest == "fixture" {
                    format!("url = \"{url}/\"\nevil_url = \"{evil}/\"\n")
                } else {
                    format!("address = \"{}\"\npath = \"/etc/passwd\"\n", victim.address)
                },
            ),
        );
    }
    for configure in CONFIGURE {
        let file = format!(
            "plugin = \"fixture\"\nmatch.type = \"never\"\npolicy.timeout = \"500ms\"\nconfig.configure = \"{configure}\"\n"
        );
        house.put(&format!("configure-{configure}.toml"), file);
    }
    let whole = std::fs::read(module("fixture")).unwrap();
    let broken = [("truncated", whole[..whole.len() / 2].to_vec()), ("mutated", mutated(whole))];
    for (name, bytes) in broken {
        house.put(&format!("{name}.wasm"), bytes);
    }
    house.put_module("wrong_world", "wrong_world");
    house.put_module("liar", "liar");
    let daemon = house.start().await;
    let pid = daemon.pid();
    for name in ["truncated", "mutated", "wrong_world"] {
        let is_rejected = |found: &Value| {
            let mut items = found["items"].as_array().into_iter().flatten();
            items.any(|item| item["name"] == name && item["state"] == "rejected")
        };
        daemon.until("/v1/plugins", is_rejected).await;
    }
    let kept_out = |found: &Value| {
        let items = found["items"].as_array().into_iter().flatten();
        let out = items.filter(|item| {
            let name = item["name"].as_str().unwrap_or_default();
            name.starts_with("configure-") && item["state"] != "ready"
        });
        out.count() == CONFIGURE.len()
    };
    daemon.until("/v1/destinations", kept_out).await;
    let mut sent = 0;
    let mut first = None;
    for round in 0..2 {
        for (_, doing, state) in &all {
            daemon.enqueue(&json!({"type": doing})).await;
            let ended = end(&daemon, doing).await;
            // Whether a million lines are refused in time is the machine's business.
            assert!(ended == *state || *doing == "log-flood", "{doing}: {ended}");
            sent += 1;
            receiver.ids(sent, PATIENCE).await;
        }
        // The first round brings everything in that stays: code, threads, connections, warm slots.
        if round == 0 {
            daemon.until_empty().await;
            first = Some(held(&daemon));
        }
    }
    daemon.until_empty().await;
    let (memory, connections, files) = first.unwrap();
    let (memory_after, connections_after, files_after) = held(&daemon);
    assert!(memory_after < memory + MAX_GROWTH, "{memory} KiB became {memory_after}");
    assert!(files_after.len() <= files.len() + MAX_PASSING, "{files:?} became {files_after:?}");
    assert!(
        connections_after <= connections + MAX_CONNECTIONS,
        "{connections} connections became {connections_after}"
    );
    assert_eq!(daemon.pid(), pid);
    assert_eq!(elsewhere.received().len(), 0, "nothing was granted there");
    let mut ids = receiver.ids(sent, PATIENCE).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), sent, "each once at the healthy one");
    assert!(daemon.stop().await.success());
}
