//! A name whose answers change from one lookup to the next, through the system's own resolver.
//!
//! The test runs itself again in a network and a mount namespace of its own: there the resolver asks our name server,
//! and the public address that it names is an address of this machine.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postrider_tests::receiver::{Receiver, answer};
use tokio::net::{TcpListener, UdpSocket};

use crate::given::{fixture, note, send};

const INSIDE: &str = "POSTRIDER_TEST_INSIDE";
const TEST: &str =
    "flipping::a_name_that_flips_between_public_and_private_never_reaches_the_private_one";
/// Anybody's, so a granted name may lead there.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Deliveries of each name.
const TRIES: usize = 12;

#[test]
#[expect(clippy::disallowed_methods, reason = "it tells whether this is the process inside")]
fn a_name_that_flips_between_public_and_private_never_reaches_the_private_one() {
    if std::env::var(INSIDE).is_ok() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net", "--mount"]);
    let can = again.arg("true").output().is_ok_and(|output| output.status.success());
    let has_ip = Command::new("ip").arg("-V").output().is_ok();
    if !can || !has_ip {
        eprintln!("skipped: it takes namespaces (unshare) and ip");
        return;
    }
    let mut again = Command::new("unshare");
    again
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap());
    again.args(["--exact", TEST, "--nocapture"]).env(INSIDE, "yes");
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

async fn inside() {
    let directory = tempfile::tempdir().unwrap();
    let resolv = directory.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.0.0.1\noptions attempts:1 timeout:2\n").unwrap();
    for command in [
        "ip link set lo up",
        &format!("ip addr add {PUBLIC}/32 dev lo"),
        &format!("ip addr add {METADATA}/32 dev lo"),
        &format!("mount --bind {} /etc/resolv.conf", resolv.display()),
    ] {
        run(command);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let server = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    tokio::spawn(serve(server, asked.clone()));

    // Closes each connection, so that each delivery looks the name up.
    let once = answer("200 OK", "connection: close\r\n", "public");
    let public = Receiver::start_at((PUBLIC, 0).into(), once).await;
    let port = public.address.port();
    let mut forbidden = Vec::new();
    for address in [Ipv4Addr::LOCALHOST, METADATA] {
        forbidden.push(TcpListener::bind((address, port)).await.unwrap());
    }
    let toml = |name: &str| {
        let origin = format!("http://{name}:{port}");
        format!("allow = [\"{origin}\"]\n[config]\ndo = \"probe\"\nurl = \"{origin}/\"\n")
    };
    for name in ["flip.test", "flip-metadata.test", "both.test"] {
        let notifier = fixture(&toml(name)).await;
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            seen.push(note(&send(&notifier, "{}").await).to_owned());
        }
        let good = seen.iter().filter(|note| *note == "200 public").count();
        let denied = seen.iter().filter(|note| note.starts_with("HttpError::Denied(")).count();
        assert_eq!(good + denied, TRIES, "{name}: {seen:?}");
        let halves = if name == "both.test" { TRIES } else { TRIES / 2 };
        assert_eq!(good, halves, "{name}: {seen:?}");
    }
    assert!(asked.load(Ordering::Relaxed) >= 3 * TRIES, "each delivery asks");
    for listener in forbidden {
        let connecting = listener.accept();
        let none = tokio::time::timeout(std::time::Duration::ZERO, connecting).await;
        assert!(none.is_err(), "nobody came");
    }
}

/// Answers address questions with a time to live of nothing.
async fn serve(socket: UdpSocket, asked: Arc<AtomicUsize>) {
    let mut question = [0; 512];
    let mut flips = 0;
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        let question = &question[..length];
        let name = name_of(question);
        let wants_address =
            question.get(12 + name.len() + 2..).is_some_and(|rest| rest.starts_with(&[0, 1]));
        let mut addresses = Vec::new();
        if wants_address {
            asked.fetch_add(1, Ordering::Relaxed);
            flips += 1;
            let private =
                if name.starts_with("flip-metadata") { METADATA } else { Ipv4Addr::LOCALHOST };
            match (name.as_str(), flips % 2) {
                ("both.test", _) => addresses.extend([private, PUBLIC, METADATA]),
                (_, 1) => addresses.push(PUBLIC),
                (_, _) => addresses.push(private),
            }
        }
        let _gone = socket.send_to(&answer_to(question, name.len() + 2, &addresses), from).await;
    }
}

/// The name in the question, its labels joined by dots.
fn name_of(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(length) = question.get(at).copied().map(usize::from).filter(|length| *length > 0)
    {
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + length]).into_owned());
        at += 1 + length;
    }
    labels.join(".")
}

fn answer_to(question: &[u8], name: usize, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut answer = question[..12 + name + 4].to_vec();
    // An answer, recursion available, no error; only the one question, no further records.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, addresses.len() as u8, 0, 0, 0, 0]);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
