//! Secrets go out with requests and never in.

use postrider_core::Outcome;

use crate::given::{fixture, logged, note, send, try_bind, watch_log};
use postrider_tests::receiver::{Receiver, answer};

const SECRETS: &str = "[secrets]\ntoken = { env = \"s3cr3t-T0KEN\" }\n";

#[tokio::test]
async fn a_secret_is_expanded_in_the_url_toward_a_granted_origin() {
    let receiver = Receiver::ok().await;
    let toml = receiver
        .destination("post")
        .replace("/hook", "/bot{{secret:token}}/send?key={{secret:token}}")
        + SECRETS;
    assert_eq!(note(&send(&fixture(&toml).await, "{}").await), "200 OK");
    assert_eq!(receiver.received()[0].line, "POST /bots3cr3t-T0KEN/send?key=s3cr3t-T0KEN HTTP/1.1");
}

#[tokio::test]
async fn a_url_that_is_wholly_secret_works_and_its_origin_is_checked() {
    let receiver = Receiver::ok().await;
    let origin = receiver.origin();
    let secret = format!("[secrets]\nurl = {{ env = \"{origin}/hidden\" }}\n");
    let toml =
        receiver.destination("post").replace(&format!("{origin}/hook"), "{{secret:url}}") + &secret;
    assert_eq!(note(&send(&fixture(&toml).await, "{}").await), "200 OK");
    assert_eq!(receiver.received()[0].line, "POST /hidden HTTP/1.1");
    let toml = toml.replace(&format!("allow = [\"{origin}\"]"), "");
    let sent = send(&fixture(&toml).await, "{}").await;
    let Outcome::Retry { reason, .. } = &sent.outcome else { panic!("{sent:?}") };
    assert!(reason.starts_with("denied: "), "{reason}");
    assert!(!reason.contains("/hidden"), "{reason}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_secret_is_expanded_in_headers_and_body() {
    let receiver = Receiver::ok().await;
    let origin = receiver.origin();
    // The webhook plugin puts its configured headers into each request.
    let toml = format!(
        "allow = [\"{origin}\"]\nallow_private = true\n{SECRETS}[config]\nurl = \"{origin}/\"\nsign = false\n\
         [config.headers]\nauthorization = \"Bearer {{{{secret:token}}}}\"\n"
    );
    let webhook = try_bind("webhook", "webhook", &toml, None).await.unwrap();
    let sent = send(&webhook, "{}").await;
    assert!(matches!(sent.outcome, Outcome::Delivered(_)), "{sent:?}");
    assert_eq!(receiver.received()[0].header("authorization"), Some("Bearer s3cr3t-T0KEN"));

    let toml = receiver.destination("exfiltrate")
        + &format!(
            "config.evil_url = \"{origin}/granted\"\nconfig.token = \"{{{{secret:token}}}}\"\n{SECRETS}"
        );
    assert_eq!(note(&send(&fixture(&toml).await, "{}").await), "200 OK");
    assert_eq!(receiver.received()[1].text(), "s3cr3t-T0KEN");
}

#[tokio::test]
pub(crate) async fn the_guest_sees_a_token_that_is_new_each_time() {
    let toml = format!("[config]\ndo = \"echo-config\"\nurl = \"{{{{secret:token}}}}\"\n{SECRETS}");
    let notifier = fixture(&toml).await;
    let (first, second) = (send(&notifier, "{}").await, send(&notifier, "{}").await);
    assert!(note(&first).starts_with("postrider-secret-"), "{first:?}");
    assert_ne!(note(&first), note(&second));
}

#[tokio::test]
pub(crate) async fn a_token_sent_to_an_ungranted_origin_is_denied_and_nothing_arrives() {
    let (good, evil) = (Receiver::ok().await, Receiver::ok().await);
    let toml = good.destination("exfiltrate")
        + &format!(
            "config.evil_url = \"{}/steal\"\nconfig.token = \"{{{{secret:token}}}}\"\n{SECRETS}",
            evil.origin()
        );
    let sent = send(&fixture(&toml).await, "{}").await;
    let Outcome::Retry { reason, .. } = &sent.outcome else { panic!("{sent:?}") };
    assert!(reason.starts_with("denied: "), "{reason}");
    assert_eq!(evil.connections() + good.connections(), 0);
}

#[tokio::test]
async fn a_secret_in_a_host_name_is_not_told_to_the_guest() {
    let toml = format!(
        "allow = [\"https://a.test\"]\n[config]\ndo = \"probe\"\nurl = \"https://x.{{{{secret:token}}}}.test/\"\n{SECRETS}"
    );
    let sent = send(&fixture(&toml).await, "{}").await;
    assert!(note(&sent).starts_with("HttpError::Denied("), "{sent:?}");
    assert!(!note(&sent).to_lowercase().contains("s3cr3t"), "{sent:?}");
}

#[tokio::test]
async fn a_planted_placeholder_stays_text() {
    let receiver = Receiver::ok().await;
    let toml = receiver.destination("post") + "config.token = \"{{secret:token}}\"\n" + SECRETS;
    let content = "{\"x\":\"{{secret:token}}\"}";
    assert_eq!(note(&send(&fixture(&toml).await, content).await), "200 OK");
    assert_eq!(receiver.received()[0].text(), content);
}

#[tokio::test]
pub(crate) async fn a_secret_is_revealed_only_where_the_destination_says_so() {
    let toml = format!("[config]\ndo = \"echo-secret\"\n{SECRETS}");
    assert_eq!(note(&send(&fixture(&toml).await, "{}").await), "none");
    // Revealed to the guest, and hidden again where it shows it.
    let toml = format!("reveal = true\n{toml}");
    assert_eq!(note(&send(&fixture(&toml).await, "{}").await), "[secret:token]");
}

#[tokio::test]
async fn a_receiver_that_echoes_a_secret_does_not_bring_it_into_the_log_or_the_attempt() {
    watch_log();
    let receiver = Receiver::start(answer("500 Oops", "", "bad token s3cr3t-T0KEN")).await;
    let toml = receiver.destination("post") + SECRETS;
    let notifier = try_bind("fixture", "echoed", &toml, None).await.unwrap();
    let sent = send(&notifier, "{}").await;
    let Outcome::Retry { reason, .. } = &sent.outcome else { panic!("{sent:?}") };
    assert!(reason.contains("bad token [secret:token]"), "{reason}");
    assert!(!logged("echoed").concat().contains("s3cr3t"));
}

#[tokio::test]
pub(crate) async fn every_key_of_a_rotated_secret_signs() {
    let sign = async |keys: &str| {
        let toml = format!(
            "[config]\ndo = \"sign\"\nsecret = \"rotated\"\n[secrets]\nrotated = {{ env = \"{keys}\" }}\n"
        );
        send(&fixture(&toml).await, "{}").await
    };
    let (new, old) = ("whsec_bmV3LWtleS1uZXcta2V5", "whsec_b2xkLWtleS1vbGQta2V5");
    let both = sign(&format!("{new} {old}")).await;
    let (first, second) = note(&both).split_once(' ').unwrap();
    assert_eq!(first, note(&sign(new).await));
    assert_eq!(second, note(&sign(old).await));
    assert!(first.starts_with("v1,") && second.starts_with("v1,"), "{both:?}");
    let seed = format!(
        "whsk_{}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32])
    );
    assert!(note(&sign(&seed).await).starts_with("v1a,"));
    let bad = sign(&format!("{new} whsec_!")).await.outcome;
    assert!(bad.reason().contains("does not go on in base64"), "{bad:?}");
}
