//! Each limit is what its destination says, and its end names it.

use postrider_core::{Fault, Outcome};
use postrider_sandbox::BindError;

use crate::given::{fixture, note, send, try_bind, watch_log};
use postrider_tests::receiver::{Receiver, answer};

async fn fault(module: &str, toml: &str) -> (Fault, String) {
    let notifier = try_bind(module, "test", toml, None).await.unwrap();
    match send(&notifier, "{}").await.outcome {
        Outcome::Fault { fault, reason } => (fault, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
pub(crate) async fn floods_through_wasi_end_at_a_named_limit() {
    watch_log();
    let doing = |what: &str| format!("policy.timeout = \"15s\"\n[config]\ndo = \"{what}\"");
    let (fault_of, why) = fault("fixture_wasi", &doing("handles")).await;
    assert_eq!(fault_of, Fault::Limit, "{why}");
    assert!(why.ends_with("for more, set under [limits]: handles, resources"), "{why}");
    let (fault_of, why) = fault("fixture_wasi", &doing("header")).await;
    assert_eq!(fault_of, Fault::Limit, "{why}");
    assert!(why.ends_with("for more, set under [limits]: headers"), "{why}");

    let flooding = try_bind("fixture_wasi", "stdout", &doing("stdout"), None).await.unwrap();
    let sent = send(&flooding, "{}").await;
    assert_eq!(note(&sent), "67108864 bytes");
    let logged: usize = crate::given::logged("stdout").iter().map(String::len).sum();
    assert!(logged < 100_000, "{logged}");
}

#[tokio::test]
async fn a_destination_may_lower_what_its_module_gets() {
    for (limit, named) in [
        ("instances = 1", "for more, set under [limits]: instances"),
        ("table = 1", "for more, set under [limits]: table"),
        ("memory = \"64KiB\"", "for more, set under [limits]: memory"),
    ] {
        let toml = format!("limits.{limit}\n[config]\ndo = \"ok\"");
        let Err(BindError::Fault { fault, reason }) =
            try_bind("fixture", "test", &toml, None).await
        else {
            panic!("{limit}")
        };
        assert_eq!(fault, Fault::Limit, "{limit}: {reason}");
        assert!(reason.ends_with(named), "{limit}: {reason}");
    }
    let toml = "limits.file = \"2KiB\"\n[config]\ndo = \"ok\"";
    let refused = try_bind("fixture", "test", toml, None).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("limits.file: the module has ") && refused.contains("at most 2048"),
        "{refused}"
    );
    let toml =
        "limits.host_call = \"4KiB\"\nlimits.request_body = 0\n[config]\ndo = \"long-log-line\"";
    let (fault, why) = fault("fixture", toml).await;
    assert_eq!(fault, Fault::Limit);
    assert!(why.ends_with("for more, set under [limits]: host_call"), "{why}");
}

#[tokio::test]
async fn the_bytes_of_all_requests_share_a_limit() {
    let receiver = Receiver::start(answer("200 OK", "", &"x".repeat(400))).await;
    let toml = format!("limits.traffic = 1000\n{}", receiver.destination("many-requests"));
    let sent = send(&fixture(&toml).await, "{}").await;
    // Two answers of 400 bytes fit; what is left of a third is not enough.
    assert!(note(&sent).starts_with("2 of 100 answered; HttpError::TooLarge"), "{}", note(&sent));

    let receiver = Receiver::ok().await;
    let toml = format!("limits.traffic = 100\n{}", receiver.destination("probe"));
    let sent = send(&fixture(&toml).await, &format!("\"{}\"", "x".repeat(200))).await;
    assert!(note(&sent).contains("for more, set under [limits]: traffic"), "{}", note(&sent));
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn a_long_result_is_cut_where_the_destination_says() {
    let receiver = Receiver::start(answer("200 OK", "", &"x".repeat(5_000))).await;
    let length =
        async |toml: String| note(&send(&fixture(&toml).await, "{}").await).chars().count();
    assert_eq!(length(receiver.destination("probe")).await, 1_001);
    assert_eq!(length(format!("limits.result = 50\n{}", receiver.destination("probe"))).await, 51);
}

#[tokio::test]
async fn headers_have_a_limit_of_their_own() {
    let receiver = Receiver::ok().await;
    let origin = receiver.origin();
    let toml = |limit: &str| {
        format!(
            "allow = [\"{origin}\"]\nallow_private = true\nlimits.headers = \"{limit}\"\n\
             [config]\nurl = \"{origin}/\"\n[config.headers]\nx-long = \"{}\"",
            "x".repeat(5_000)
        )
    };
    let small = try_bind("webhook", "test", &toml("4KiB"), None).await.unwrap();
    let refused = send(&small, "{}").await.outcome;
    assert!(refused.reason().contains("for more, set under [limits]: headers"), "{refused:?}");
    let large = try_bind("webhook", "test", &toml("8KiB"), None).await.unwrap();
    assert!(matches!(send(&large, "{}").await.outcome, Outcome::Delivered(_)));
    assert_eq!(receiver.received().len(), 1);
}
