//! A receiver of HTTP requests on loopback that does what a test says.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "for tests only: a receiver that cannot go on ends its test"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What the receiver does with a request.
#[derive(Clone)]
pub enum Behaviour {
    /// Answers and keeps the connection.
    Answer(String),
    /// The same, once it is told that so many requests are to be answered, in the order in which they came.
    Hold(watch::Receiver<usize>, String),
    /// Answers what it is told now, and keeps the connection.
    Switch(watch::Receiver<String>),
    /// Reads and says nothing.
    Hang,
    /// Promises more than it sends.
    BreakOff,
    Garbage,
    /// A gigabyte, without saying so before.
    Flood,
    /// Bytes of a head that never ends.
    EndlessHead,
}

#[derive(Clone, Debug, Default)]
pub struct Received {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    arrival: Arc<Notify>,
    /// How many different `webhook-id` headers came.
    distinct: Arc<Mutex<HashSet<String>>>,
    /// Requests' heads are not kept: there are very many.
    bodies_only: bool,
}

/// An answer of this status, with header lines that each end in a line break.
pub fn answer(status: &str, headers: &str, body: &str) -> Behaviour {
    Behaviour::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// An answer of this status without a body, as [`Receiver::switching`] takes it.
pub fn text(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
}

impl Receiver {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour).await
    }

    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        Self::start_keeping(address, behaviour, false).await
    }

    async fn start_keeping(address: SocketAddr, behaviour: Behaviour, bodies_only: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
            arrival: Arc::default(),
            distinct: Arc::default(),
            bodies_only,
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                let (receiver, behaviour) = (serving.clone(), behaviour.clone());
                tokio::spawn(async move { receiver.serve(stream, behaviour).await });
            }
        });
        receiver
    }

    pub async fn ok() -> Self {
        Self::start(answer("200 OK", "", "thanks")).await
    }

    /// One for very many requests, of which it keeps the bodies only.
    pub async fn of_many() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_keeping(address, answer("200 OK", "", ""), true).await
    }

    /// One that takes requests, and answers as many as it is told, the first ones first.
    pub async fn holding() -> (Self, watch::Sender<usize>) {
        let (tell, told) = watch::channel(0);
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
        (Self::start(Behaviour::Hold(told, text)).await, tell)
    }

    /// One whose answers change: it begins with `status`, and answers what is sent through the channel from then on.
    pub async fn switching(status: &str) -> (Self, watch::Sender<String>) {
        let (switch, told) = watch::channel(text(status));
        (Self::start(Behaviour::Switch(told)).await, switch)
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until requests with `count` different `webhook-id` headers have come, and answers all of theirs.
    ///
    /// # Panics
    /// After `patience`.
    pub async fn ids(&self, count: usize, patience: Duration) -> Vec<String> {
        self.until(count, patience).await;
        let received = self.received();
        received.iter().filter_map(|r| r.header("webhook-id").map(str::to_owned)).collect()
    }

    /// Waits until requests with `count` different `webhook-id` headers have come.
    ///
    /// # Panics
    /// After `patience`.
    pub async fn until(&self, count: usize, patience: Duration) {
        let came = || self.distinct();
        let enough = async {
            loop {
                let arrival = self.arrival.notified();
                if came() >= count {
                    return;
                }
                arrival.await;
            }
        };
        let timely = tokio::time::timeout(patience, enough).await.is_ok();
        assert!(timely, "{} notifications came, {count} were expected", came());
    }

    /// How many different `webhook-id` headers have come.
    pub fn distinct(&self) -> usize {
        self.distinct.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The TOML of a destination of the fixture that may reach this receiver.
    pub fn destination(&self, doing: &str) -> String {
        let origin = self.origin();
        format!(
            "allow = [\"{origin}\"]\nallow_private = true\npolicy.timeout = \"1s\"\n\
             config.do = \"{doing}\"\nconfig.url = \"{origin}/hook\"\n"
        )
    }

    async fn serve(&self, mut stream: TcpStream, behaviour: Behaviour) {
        while let Some(mut received) = read(&mut stream).await {
            let id = received.header("webhook-id").map(str::to_owned);
            if self.bodies_only {
                received = Received { body: received.body, ..Received::default() };
            }
            self.distinct.lock().unwrap().extend(id);
            let place = {
                let mut all = self.received.lock().unwrap();
                all.push(received);
                all.len()
            };
            self.arrival.notify_waiters();
            let written = match &behaviour {
                Behaviour::Answer(text) => stream.write_all(text.as_bytes()).await,
                Behaviour::Hold(told, text) => {
                    let mut told = told.clone();
                    // Also when the test has ended.
                    told.wait_for(|told| place <= *told).await.map(drop).ok();
                    stream.write_all(text.as_bytes()).await
                }
                Behaviour::Switch(told) => {
                    let text = told.borrow().clone();
                    stream.write_all(text.as_bytes()).await
                }
                Behaviour::Hang => std::future::pending().await,
                Behaviour::BreakOff => {
                    let _cut = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                        .await;
                    return;
                }
                Behaviour::Garbage => {
                    let _gone = stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await;
                    return;
                }
                Behaviour::Flood => flood(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await,
                Behaviour::EndlessHead => flood(&mut stream, b"HTTP/1.1 200 OK\r\nx: ").await,
            };
            if written.is_err() {
                return;
            }
        }
    }
}

async fn flood(stream: &mut TcpStream, head: &[u8]) -> std::io::Result<()> {
    stream.write_all(head).await?;
    let mebibyte = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        stream.write_all(&mebibyte).await?;
    }
    Ok(())
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { line, headers, body })
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
