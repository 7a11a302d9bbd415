//! The processes that get the requests, and how they are asked what came.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postrider_tests::wire::{Wire, get};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::receiver;

/// How long nginx may take until it listens.
const START: Duration = Duration::from_secs(5);

/// Ended when dropped.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    nginx: bool,
    _child: Child,
    _directory: Option<TempDir>,
}

/// Asks what came. Of nginx only one at a time may, since it counts their questions, too.
pub(crate) struct Counter {
    wire: Wire,
    nginx: bool,
    asked: u64,
}

impl Target {
    /// This program once more.
    pub(crate) async fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(receiver::WORD).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.kill_on_drop(true).spawn().context("the receiver does not start")?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let address = lines.next_line().await?.context("the receiver says no address")?.parse()?;
        Ok(Self { address, nginx: false, _child: child, _directory: None })
    }

    /// None where there is none on the machine.
    pub(crate) async fn nginx() -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::fs::write(
            directory.path().join("nginx.conf"),
            configuration(directory.path(), address),
        )?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let Ok(child) = command.spawn() else { return Ok(None) };
        let listening = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(START, listening).await.context("nginx does not listen")?;
        Ok(Some(Self { address, nginx: true, _child: child, _directory: Some(directory) }))
    }

    pub(crate) async fn counter(&self) -> Counter {
        Counter { wire: Wire::connect(self.address).await, nginx: self.nginx, asked: 0 }
    }
}

impl Counter {
    /// How many requests were answered well so far, as a number to compare with a later one.
    pub(crate) async fn total(&mut self) -> u64 {
        if !self.nginx {
            return self.ask("/_total").await.parse().unwrap();
        }
        self.asked += 1;
        requests(&self.ask("/_status").await).unwrap() - self.asked
    }

    pub(crate) async fn record(&mut self) {
        self.ask("/_record").await;
    }

    /// When each id came since the recording began, in this order, by the clock of all processes.
    pub(crate) async fn arrivals(&mut self) -> HashMap<String, Vec<u64>> {
        numbers(&self.ask("/_arrivals").await)
    }

    async fn ask(&mut self, path: &str) -> String {
        String::from_utf8(self.wire.ask(&get(path)).await).unwrap()
    }
}

/// Lines of a name and a number.
fn numbers(lines: &str) -> HashMap<String, Vec<u64>> {
    let mut numbers = HashMap::<String, Vec<u64>>::new();
    for line in lines.lines() {
        let (name, number) = line.split_once(' ').unwrap();
        numbers.entry(name.to_owned()).or_default().push(number.parse().unwrap());
    }
    numbers
}

/// The third number of the line below `server accepts handled requests`.
fn requests(status: &str) -> Option<u64> {
    status.lines().nth(2)?.split_whitespace().nth(2)?.parse().ok()
}

fn configuration(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {directory}/{what};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n\
         client_max_body_size 16m;\n{temporary}\
         server {{\nlisten {address};\nlocation /_status {{ stub_status; }}\n\
         location / {{ return 200; }}\n}}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_tells_its_requests_in_the_third_line() {
        let status =
            "Active connections: 1 \nserver accepts handled requests\n 4 4 17 \nReading: 0";
        assert_eq!(requests(status), Some(17));
    }

    #[test]
    fn the_numbers_of_a_name_stay_in_their_order() {
        let expected = [("a".into(), vec![1, 9]), ("b".into(), vec![2])].into();
        assert_eq!(numbers("a 1\nb 2\na 9\n"), expected);
    }
}
