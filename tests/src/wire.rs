//! HTTP/1.1 without a library: a client of a bench shares its machine with what it measures.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for benches only: one that is not answered ends"
)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that stays.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The bytes of a request.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(64 << 10) }
    }

    /// Sends a request and reads the whole answer, whose status must be one of success.
    pub async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).await.unwrap();
        let head = self.head().await;
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let end = head + length.expect("an answer of known length").unwrap();
        while self.buffer.len() < end {
            self.more().await;
        }
        let body = self.buffer[head..end].to_vec();
        self.buffer.drain(..end);
        let good = text.starts_with("HTTP/1.1 20");
        assert!(good, "{text}{}", String::from_utf8_lossy(&body));
        body
    }

    /// Sends a request and answers once the head of its answer is here.
    pub async fn open(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        let head = self.head().await;
        assert!(
            self.buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.buffer)
        );
        self.buffer.drain(..head);
    }

    /// Reads on until `count` occurrences of `text` have come.
    pub async fn until(&mut self, text: &str, count: usize) {
        let mut seen = 0;
        loop {
            let found =
                self.buffer.windows(text.len()).rposition(|window| window == text.as_bytes());
            if let Some(last) = found {
                let windows = self.buffer.windows(text.len());
                seen += windows.filter(|window| *window == text.as_bytes()).count();
                self.buffer.drain(..last + text.len());
            }
            if seen >= count {
                return;
            }
            self.more().await;
        }
    }

    /// Sends bytes and expects nothing.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads up to the end of a head, and answers where that is.
    async fn head(&mut self) -> usize {
        loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                return end + 4;
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
        assert!(read > 0, "the daemon closed: {}", String::from_utf8_lossy(&self.buffer));
    }
}
