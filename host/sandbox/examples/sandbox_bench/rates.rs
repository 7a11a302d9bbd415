//! Requests a second to a receiver on this machine: by a bare pooled client, by the guarded one, and through instances.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use postrider_core::{Destination, Notification};
use postrider_sandbox::measuring::Door;
use postrider_sandbox::{Notifier, Plugin, Sandbox};

use crate::{bind, cpu_time, deliver, median, notification, on_workers, server};

const IN_FLIGHT: usize = 16;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 7;

/// What is compared.
struct Ways {
    sandbox: Sandbox,
    address: SocketAddr,
    url: String,
    bare: Client<HttpConnector, Full<Bytes>>,
    door: Arc<Door>,
    fresh: Notifier,
    reused: Notifier,
    notification: Arc<Notification>,
}

/// Only what `only` begins, or all in turn.
pub(crate) async fn run(sandbox: &Sandbox, plugin: &Arc<Plugin>, only: &str) {
    let ways = Ways::open(sandbox, plugin).await;
    let names = ["bare pooled client", "guarded client", "reused instance", "fresh instance"];
    let goals = ["the yardstick", "goal ≥ 0.8", "goal ≥ 0.6", "goal ≥ 0.4"];
    let mut all: [Vec<(f64, f64)>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let time = if round == 0 { WARM_UP } else { ROUND };
        for (place, rates) in all.iter_mut().enumerate() {
            if !names[place].starts_with(only) {
                continue;
            }
            let (cpu, started) = (cpu_time(), Instant::now());
            let count = ways.requests(place, started + time).await;
            let rate = count / started.elapsed().as_secs_f64();
            // The first warms up connections and code.
            if round > 0 {
                rates.push((rate, (cpu_time() - cpu).as_secs_f64() * 1e6 / count));
            }
        }
    }
    println!(
        "requests of 1 KiB to a receiver in this process, {IN_FLIGHT} at once, medians of {ROUNDS} rounds in turn"
    );
    for (place, rates) in all.iter().enumerate().filter(|(_, rates)| !rates.is_empty()) {
        let ratios = rates.iter().zip(&all[0]).map(|((rate, _), (bare, _))| rate / bare).collect();
        let rate = median(rates.iter().map(|(rate, _)| *rate).collect());
        let cpu = median(rates.iter().map(|(_, cpu)| *cpu).collect());
        let ratio = if all[0].is_empty() { f64::NAN } else { median(ratios) };
        println!(
            "  {:<18} {rate:>7.0}/s  {ratio:>5.2} of bare  {cpu:>5.1} µs of cpu, receiver included  {}",
            names[place], goals[place]
        );
    }
}

impl Ways {
    async fn open(sandbox: &Sandbox, plugin: &Arc<Plugin>) -> Self {
        let address = server::start();
        let url = format!("http://{address}/hook");
        let granted = format!("allow = [\"http://{address}\"]\nallow_private = true\n");
        let post = format!("{granted}config = {{ do = \"post\", url = \"{url}\" }}\n");
        let often = format!("reuse = {{ count = 1000000, age = \"1h\" }}\n{post}");
        Self {
            bare: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(IN_FLIGHT)
                .build::<_, Full<Bytes>>(HttpConnector::new()),
            door: Door::new(sandbox, &Destination::parse("bench", &granted).unwrap())
                .unwrap()
                .into(),
            fresh: bind(plugin, &post).await,
            reused: bind(plugin, &often).await,
            notification: notification().into(),
            sandbox: sandbox.clone(),
            address,
            url,
        }
    }

    /// How many came until `end`.
    async fn requests(&self, way: usize, end: Instant) -> f64 {
        let content = &self.notification.content;
        match way {
            0 => {
                let (client, address, content) = (self.bare.clone(), self.address, content.clone());
                here(end, move || bare_post(client.clone(), address, content.clone())).await
            }
            1 => {
                let (door, url, content) = (self.door.clone(), self.url.clone(), content.clone());
                here(end, move || guarded_post(door.clone(), url.clone(), content.clone())).await
            }
            2 => self.instances(end, &self.reused).await,
            _ => self.instances(end, &self.fresh).await,
        }
    }

    /// Everything that belongs to a delivery on the threads of the guests.
    async fn instances(&self, end: Instant, notifier: &Notifier) -> f64 {
        let counts = on_workers(&self.sandbox, IN_FLIGHT, || {
            let (notifier, notification) = (notifier.clone(), self.notification.clone());
            async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    deliver(&notifier, &notification).await;
                    count += 1;
                }
                f64::from(count)
            }
        });
        counts.await.iter().sum()
    }
}

/// In tasks of this thread.
async fn here<F>(end: Instant, request: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let loops = (0..IN_FLIGHT).map(|_| {
        let request = request.clone();
        tokio::spawn(async move {
            let mut count = 0_u32;
            while Instant::now() < end {
                request().await;
                count += 1;
            }
            f64::from(count)
        })
    });
    let counts = join_all(loops).await;
    counts.into_iter().map(|count| count.unwrap()).sum()
}

/// The headers that the fixture sends.
const HEADERS: [(&str, &str); 2] = [("content-type", "application/json"), ("webhook-id", "7")];

async fn bare_post(
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    content: Bytes,
) {
    let mut request = Request::post(format!("http://{address}/hook"));
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    let answer = client.request(request.body(Full::new(content)).unwrap()).await.unwrap();
    assert!(answer.status().is_success());
    answer.into_body().collect().await.unwrap();
}

async fn guarded_post(door: Arc<Door>, url: String, content: Bytes) {
    let headers = HEADERS
        .map(|(name, value)| (HeaderName::from_static(name), Bytes::from_static(value.as_bytes())));
    let status = door.post(url, headers.into(), content).await.unwrap();
    assert_eq!(status, 200);
}
