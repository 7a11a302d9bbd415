//! A producer's trace, from every way in to the receiver.

use std::collections::BTreeMap;

use postrider_tests::daemon::{House, PATIENCE, http};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::{hook, hooked};

/// A trace whose last digits tell it from others.
fn parent(number: u8) -> String {
    format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033{number:02x}-01")
}

/// A request with a trace in its headers.
fn traced(url: String, number: u8) -> reqwest::RequestBuilder {
    http().post(url).header("traceparent", parent(number)).header("tracestate", "shop=1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_every_way_in_to_the_receiver() {
    let receiver = Receiver::ok().await;
    let house: House = hooked(&receiver, "");
    house.put_module("fixture_wasi", "fixture-wasi");
    // The other way out of a guest.
    let wasi = hook(&receiver, "config.do = \"post\"").replace("\"webhook\"", "\"fixture-wasi\"");
    house.put("wasi.toml", wasi.replace("/hook\"", "/wasi\""));
    let daemon = house.start().await;
    let url = |path: &str| format!("{}{path}", daemon.url());

    let one = r#"{"type": "t", "subject": "one"}"#;
    // Their own fields win over the request's headers; what is none is left out.
    let batch = json!([
        {"type": "t", "subject": "field", "traceparent": parent(3), "tracestate": "own=1"},
        {"type": "t", "subject": "header", "traceparent": "mine"},
    ]);
    let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
                       "subject": "event", "traceparent": parent(5)});
    let alerts = json!({"receiver": "ops", "alerts": [
        {"status": "firing", "labels": {"alertname": "alert"}}]});
    for (request, body) in [
        (traced(url("/v1/notifications"), 1), one.to_owned()),
        (traced(url("/v1/notifications/batch"), 2), batch.to_string()),
        (
            traced(url("/v1/cloudevents"), 4)
                .header("content-type", "application/cloudevents+json"),
            event.to_string(),
        ),
        (traced(url("/v1/alertmanager"), 6), alerts.to_string()),
        (traced(url("/v1/notify"), 7).header("title", "line"), "text".to_owned()),
        (http().post(url("/v1/notifications")), r#"{"type": "t", "subject": "none"}"#.to_owned()),
    ] {
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    receiver.until(7, PATIENCE).await;
    daemon.until_empty().await;
    let state = |text: &str| Some(text.to_owned());
    let expected = BTreeMap::from([
        ("one", (Some(parent(1)), state("shop=1"))),
        ("field", (Some(parent(3)), state("own=1"))),
        ("header", (Some(parent(2)), state("shop=1"))),
        ("event", (Some(parent(5)), None)),
        ("alert", (Some(parent(6)), state("shop=1"))),
        ("line", (Some(parent(7)), state("shop=1"))),
        ("none", (None, None)),
    ]);
    let (_, listed) = daemon.get("/v1/notifications").await;
    let text = |n: &Value, key: &str| n[key].as_str().map(str::to_owned);
    let items = listed["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|n| (text(n, "subject").unwrap(), (text(n, "traceparent"), text(n, "tracestate"))))
        .collect();
    let told: BTreeMap<&str, _> =
        told.iter().map(|(name, trace)| (&**name, trace.clone())).collect();
    assert_eq!(told, expected);

    let mut wanted: Vec<_> = expected.into_values().collect();
    wanted.sort();
    for path in ["/hook", "/wasi"] {
        let requests = receiver.received();
        let requests = requests.iter().filter(|request| request.line.contains(path));
        let header =
            |r: &postrider_tests::receiver::Received, name| r.header(name).map(str::to_owned);
        let mut got: Vec<_> =
            requests.map(|r| (header(r, "traceparent"), header(r, "tracestate"))).collect();
        got.sort();
        assert_eq!(got, wanted, "{path}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn postriders_own_types_are_refused() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "match = { type = ['postrider.*'] }");
    let daemon = house.start().await;
    let own = json!({"type": "postrider.delivery.dead"});
    let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "postrider.x"});
    for (path, body, field) in [
        ("/v1/notifications", own.clone(), "type"),
        ("/v1/notifications/batch", json!([{"type": "a"}, own]), "[1].type"),
        ("/v1/cloudevents", event, "type"),
    ] {
        let request = http().post(format!("{}{path}", daemon.url()));
        let request = request.header("content-type", "application/cloudevents+json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["field"], field, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("must not begin with \"postrider.\""), "{problem}");
    }
    // By hand it still sends its own.
    let (status, _) = daemon.post("/v1/destinations/hook/test", "").await;
    assert_eq!(status, 201);
    receiver.until(1, PATIENCE).await;
    assert_eq!(receiver.received().len(), 1);
    assert!(daemon.stop().await.success());
}
