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
use postrider_core::Destination;
use postrider_sandbox::measuring::Door;
use postrider_sandbox::{Plugin, Sandbox};

use crate::{bind, deliver, median, notification, server};

const IN_FLIGHT: usize = 16;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 7;

pub(crate) async fn run(sandbox: &Sandbox, plugin: &Arc<Plugin>) {
    let address = server::start();
    let url = format!("http://{address}/hook");
    let granted = format!("allow = [\"http://{address}\"]\nallow_private = true\n");
    let post = format!("{granted}config = {{ do = \"post\", url = \"{url}\" }}\n");

    let bare = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IN_FLIGHT)
        .build::<_, Full<Bytes>>(HttpConnector::new());
    let door = Door::new(sandbox, &Destination::parse("bench", &granted).unwrap()).unwrap();
    let fresh = bind(plugin, &post).await;
    let often = format!("reuse = {{ count = 1000000, age = \"1h\" }}\n{post}");
    let reused = bind(plugin, &often).await;

    let notification = notification();
    let content = notification.content.clone();
    let mut all: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let time = if round == 0 { WARM_UP } else { ROUND };
        let rates = [
            rate(time, || bare_post(&bare, address, &content)).await,
            rate(time, || guarded_post(&door, &url, &content)).await,
            rate(time, || deliver(&reused, &notification)).await,
            rate(time, || deliver(&fresh, &notification)).await,
        ];
        // The first warms up connections and code.
        if round > 0 {
            all.iter_mut().zip(rates).for_each(|(all, rate)| all.push(rate));
        }
    }
    println!(
        "requests of 1 KiB to a receiver on this machine, {IN_FLIGHT} at once, medians of {ROUNDS} rounds in turn"
    );
    let names = ["bare pooled client", "guarded client", "reused instance", "fresh instance"];
    let goals = ["the yardstick", "goal ≥ 0.8", "goal ≥ 0.5", ""];
    for (place, rates) in all.iter().enumerate() {
        let ratios = rates.iter().zip(&all[0]).map(|(rate, bare)| rate / bare).collect();
        let (rate, ratio) = (median(rates.clone()), median(ratios));
        println!("  {:<18} {rate:>7.0}/s  {ratio:>5.2} of bare  {}", names[place], goals[place]);
    }
}

async fn rate<F: Future<Output = ()>>(time: Duration, request: impl Fn() -> F) -> f64 {
    let started = Instant::now();
    let loops = (0..IN_FLIGHT).map(|_| async {
        let mut count = 0_u32;
        while started.elapsed() < time {
            request().await;
            count += 1;
        }
        f64::from(count)
    });
    join_all(loops).await.iter().sum::<f64>() / started.elapsed().as_secs_f64()
}

/// The headers that the fixture sends.
const HEADERS: [(&str, &str); 2] = [("content-type", "application/json"), ("webhook-id", "7")];

async fn bare_post(
    client: &Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    content: &Bytes,
) {
    let mut request = Request::post(format!("http://{address}/hook"));
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    let answer = client.request(request.body(Full::new(content.clone())).unwrap()).await.unwrap();
    assert!(answer.status().is_success());
    answer.into_body().collect().await.unwrap();
}

async fn guarded_post(door: &Door, url: &str, content: &Bytes) {
    let headers = HEADERS
        .map(|(name, value)| (HeaderName::from_static(name), Bytes::from_static(value.as_bytes())));
    let status = door.post(url.to_owned(), headers.into(), content.clone()).await.unwrap();
    assert_eq!(status, 200);
}
