//! The receiver: a process of its own, so that what it uses is not counted as the producers'.
//!
//! | path | answer |
//! | --- | --- |
//! | `/ok/…` | 200, counted |
//! | `/flaky/…` | 500 to every tenth request; the others 200, counted |
//! | `/hang/…` | none |
//! | `/bare` | 200 |
//! | `/_total`, `/_counts` | what was counted: a number; each path and its number |
//! | `/_record`, `/_arrivals` | begins to note ids and times; ends it, and has the notes |

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::process::now;

/// The word on the command line that makes this program the receiver.
pub(crate) const WORD: &str = "receiver";
/// Of how many requests one fails.
const FAILS: u64 = 10;

#[derive(Default)]
struct Counted {
    total: u64,
    flaky: u64,
    paths: HashMap<String, u64>,
    /// Ids and times of arrival, while they are asked for.
    arrivals: Option<Vec<(String, u64)>>,
}

/// Serves until the standard input ends, which it does with whoever holds its other end.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let read = std::io::stdin().read(&mut [0]);
        drop((read, ended));
    });
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        tokio::select! {
            () = accept(listener) => (),
            _ended = end => (),
        }
    });
}

async fn accept(listener: TcpListener) {
    let counted = Arc::<Mutex<Counted>>::default();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(connection(stream, counted.clone()));
    }
}

async fn connection(mut stream: TcpStream, counted: Arc<Mutex<Counted>>) {
    let mut bytes = Vec::with_capacity(16 << 10);
    loop {
        while let Some(request) = Request::of(&bytes) {
            let answer = counted.lock().unwrap().answer(&request);
            let length = request.length;
            bytes.drain(..length);
            let Some(answer) = answer else { std::future::pending().await };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}

impl Counted {
    /// The bytes of an answer; none where none is given.
    fn answer(&mut self, request: &Request<'_>) -> Option<String> {
        let first = request.path.split('/').nth(1).unwrap_or_default();
        let body = match first {
            "hang" => return None,
            "flaky" => {
                self.flaky += 1;
                if self.flaky.is_multiple_of(FAILS) {
                    return Some(text("500 Internal Server Error", ""));
                }
                self.count(request)
            }
            "bare" => String::new(),
            "_total" => self.total.to_string(),
            "_counts" => lines(self.paths.iter()),
            "_record" => {
                self.arrivals = Some(Vec::new());
                String::new()
            }
            "_arrivals" => {
                lines(self.arrivals.take().unwrap_or_default().iter().map(|(i, t)| (i, t)))
            }
            _ => self.count(request),
        };
        Some(text("200 OK", &body))
    }

    fn count(&mut self, request: &Request<'_>) -> String {
        self.total += 1;
        match self.paths.get_mut(request.path) {
            Some(count) => *count += 1,
            None => drop(self.paths.insert(request.path.to_owned(), 1)),
        }
        if let Some(arrivals) = &mut self.arrivals
            && let Some(id) = header(request.head, "webhook-id")
        {
            arrivals.push((id.to_owned(), now()));
        }
        String::new()
    }
}

fn text(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn lines<'a>(pairs: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    pairs.fold(String::new(), |mut lines, (name, number)| {
        writeln!(lines, "{name} {number}").unwrap();
        lines
    })
}

struct Request<'a> {
    path: &'a str,
    head: &'a str,
    /// With its body.
    length: usize,
}

impl<'a> Request<'a> {
    /// The request that the bytes begin with, once it is whole.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        const END: &[u8] = b"\r\n\r\n";
        let end = bytes.windows(END.len()).position(|window| window == END)?;
        let head = std::str::from_utf8(bytes.get(..end)?).unwrap();
        let body = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        let length = end + END.len() + body;
        (bytes.len() >= length).then_some(())?;
        Some(Self { path: head.split(' ').nth(1)?, head, length })
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /flaky/3 HTTP/1.1\r\nWebhook-Id: a-1\r\nContent-Length: 2\r\n\r\nhi";

    #[test]
    fn a_request_is_whole_with_its_body() {
        assert!(Request::of(&POST[..POST.len() - 1]).is_none());
        let more = [POST, b"GET"].concat();
        let request = Request::of(&more).unwrap();
        assert_eq!((request.path, request.length), ("/flaky/3", POST.len()));
    }

    #[test]
    fn every_tenth_request_fails_and_is_not_counted() {
        let (mut counted, request) = (Counted::default(), Request::of(POST).unwrap());

        let answers: Vec<_> = (0..20).map(|_| counted.answer(&request).unwrap()).collect();

        assert_eq!(answers.iter().filter(|answer| answer.contains(" 500 ")).count(), 2);
        let total = Request { path: "/_total", head: "", length: 0 };
        assert!(counted.answer(&total).unwrap().ends_with("\r\n\r\n18"));
    }

    #[test]
    fn ids_are_noted_while_they_are_asked_for() {
        let (mut counted, post) = (Counted::default(), Request::of(POST).unwrap());
        let ask = |path| Request { path, head: "", length: 0 };
        counted.answer(&post);
        counted.answer(&ask("/_record"));
        counted.answer(&post);

        let notes = counted.answer(&ask("/_arrivals")).unwrap();

        assert_eq!(notes.matches("a-1 ").count(), 1, "{notes}");
    }
}
