//! The yardstick of sending: a pooled client of hyper-util, that posts the same bodies to the same receiver from one
//! thread, without a queue and without a sandbox.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::process::thread_cpu;

const IN_FLIGHT: usize = 32;
/// For connections.
const WARM_UP: Duration = Duration::from_millis(100);
/// The headers that the webhook module sends, of their lengths.
const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("webhook-id", "01a20c86-9261-70cc-97ff-d2a2d084747f"),
    ("webhook-timestamp", "1764000000"),
];

#[derive(Clone, Copy)]
pub(crate) struct Bare {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Processor time of a request at the client, in µs.
    pub(crate) cpu_us: f64,
}

/// Takes a thread of its own. The caller waits.
pub(crate) fn measure(receiver: SocketAddr, body: &str, time: Duration) -> Result<Bare> {
    let body = Bytes::from(body.to_owned());
    let uri = format!("http://{receiver}/bare").parse()?;
    let posting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(post(uri, body, time))
    });
    tokio::task::block_in_place(|| posting.join()).ok().context("the bare client failed")?
}

async fn post(uri: Uri, body: Bytes, time: Duration) -> Result<Bare> {
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IN_FLIGHT)
        .build(HttpConnector::new());
    many(&client, &uri, &body, WARM_UP).await?;
    let (started, cpu) = (Instant::now(), thread_cpu());
    let count = f64::from(many(&client, &uri, &body, time).await?);
    let cpu_us = (thread_cpu() - cpu).as_secs_f64() * 1e6 / count;
    Ok(Bare { rate: count / started.elapsed().as_secs_f64(), cpu_us })
}

async fn many(
    client: &Client<HttpConnector, Full<Bytes>>,
    uri: &Uri,
    body: &Bytes,
    time: Duration,
) -> Result<u32> {
    let end = Instant::now() + time;
    let loops = (0..IN_FLIGHT).map(|_| async {
        let mut count = 0;
        while Instant::now() < end {
            let headers = HEADERS.into_iter();
            let request = headers.fold(Request::post(uri.clone()), |request, (name, value)| {
                request.header(name, value)
            });
            let answer = client.request(request.body(Full::new(body.clone()))?).await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    join_all(loops).await.into_iter().sum()
}
