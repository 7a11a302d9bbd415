//! A destination's own certificate authority, client certificate and proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postrider_core::Outcome;
use postrider_tests::receiver::Receiver;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::given::{fixture, note, send, try_bind};

fn pem(name: &str) -> String {
    format!("{}/pems/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

/// A receiver that speaks TLS under the tests' authority, and wants a client's certificate of it if told so.
async fn tls_receiver(wants_certificate: bool) -> SocketAddr {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem("ca")).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(pem("server")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pem("server")).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                if read > 0 {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsafe";
                    let _gone = stream.write_all(answer).await;
                }
            });
        }
    });
    address
}

fn secured(address: SocketAddr, tls: &str) -> String {
    let origin = format!("https://localhost:{}", address.port());
    format!(
        "allow = [\"{origin}\"]\nallow_private = true\n{tls}\n[config]\ndo = \"probe\"\nurl = \"{origin}/\"\n"
    )
}

fn ca() -> String {
    format!("tls.ca = {{ file = \"{}\" }}", pem("ca"))
}

#[tokio::test]
async fn a_receiver_of_a_private_authority_is_trusted_where_the_destination_names_it() {
    let address = tls_receiver(false).await;
    let trusting = send(&fixture(&secured(address, &ca())).await, "{}").await;
    assert_eq!(note(&trusting), "200 safe");
    let wary = send(&fixture(&secured(address, "")).await, "{}").await;
    assert!(note(&wary).contains("UnknownIssuer"), "{}", note(&wary));
    // In the place of the system's: another authority alone does not know it either.
    let other = format!("tls.ca = {{ file = \"{}\" }}", pem("client"));
    let other = send(&fixture(&secured(address, &other)).await, "{}").await;
    assert!(note(&other).starts_with("HttpError::Connect("), "{}", note(&other));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_destination_has_one() {
    let address = tls_receiver(true).await;
    let without = send(&fixture(&secured(address, &ca())).await, "{}").await;
    assert!(note(&without).starts_with("HttpError::"), "{}", note(&without));
    let with = format!("{}\ntls.client_cert = {{ file = \"{}\" }}", ca(), pem("client"));
    assert_eq!(note(&send(&fixture(&secured(address, &with)).await, "{}").await), "200 safe");
    let wrong = format!("{}\ntls.client_cert = {{ file = \"{}\" }}", ca(), pem("ca"));
    let refused = try_bind("fixture", "test", &secured(address, &wrong), None).await.unwrap_err();
    assert!(refused.to_string().contains("set tls.client_key"), "{refused}");
}

/// A proxy that opens tunnels and answers whole URLs itself. Counts both.
#[derive(Clone, Default)]
struct Proxy {
    tunnels: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens, and opens every tunnel to `receiver`, whatever name it is asked for.
    async fn start(&self, receiver: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(proxy.clone().serve(stream, receiver));
            }
        });
        address
    }

    async fn serve(self, mut stream: TcpStream, receiver: SocketAddr) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        if !head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnzd29yza==") {
            let _gone = stream.write_all(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n").await;
            return;
        }
        if head.starts_with("CONNECT localhost:") {
            self.tunnels.fetch_add(1, Ordering::Relaxed);
            let mut onward = TcpStream::connect(receiver).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _closed = copy_bidirectional(&mut stream, &mut onward).await;
        } else if head.starts_with("POST http://no.such.name.test/hook HTTP/1.1\r\n") {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nproxy";
            let _gone = stream.write_all(answer).await;
        }
    }
}

#[tokio::test]
async fn requests_go_through_the_proxy_that_the_destination_names() {
    let receiver = tls_receiver(false).await;
    let proxy = Proxy::default();
    let at = proxy.start(receiver).await;
    let through = format!(
        "proxy = {{ url = \"http://{at}\", credentials = \"login\" }}\nsecrets.login = {{ env = \"user:password\" }}"
    );
    let tunnelled = secured(receiver, &format!("{}\n{through}", ca()));
    assert_eq!(note(&send(&fixture(&tunnelled).await, "{}").await), "200 safe");
    // A name that only the proxy knows, without allow_private: where it leads is the proxy's business.
    let plain = format!(
        "allow = [\"http://no.such.name.test\"]\n{through}\n[config]\ndo = \"probe\"\nurl = \"http://no.such.name.test/hook\"\n"
    );
    assert_eq!(note(&send(&fixture(&plain).await, "{}").await), "200 proxy");
    assert_eq!(
        (proxy.tunnels.load(Ordering::Relaxed), proxy.requests.load(Ordering::Relaxed)),
        (1, 1)
    );

    let ungranted = plain.replace("allow = [\"http://no.such.name.test\"]", "");
    let sent = send(&fixture(&ungranted).await, "{}").await;
    assert!(note(&sent).starts_with("HttpError::Denied("), "{}", note(&sent));
    let literal = plain.replace("http://no.such.name.test", "http://169.254.169.254");
    let sent = send(&fixture(&literal).await, "{}").await;
    assert!(note(&sent).contains("no grant opens"), "{}", note(&sent));
    assert_eq!(proxy.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_no_connection_and_its_password_is_not_shown() {
    let receiver = Receiver::ok().await;
    let at = Proxy::default().start(receiver.address).await;
    let through = format!(
        "proxy = {{ url = \"http://{at}\", credentials = \"login\" }}\nsecrets.login = {{ env = \"user:wrong-one\" }}"
    );
    let sent = send(&fixture(&secured(receiver.address, &through)).await, "{}").await;
    assert!(
        note(&sent).contains("the proxy refuses a tunnel: HTTP/1.1 407 Who"),
        "{}",
        note(&sent)
    );
    assert!(!note(&sent).contains("wrong-one"));
    let bad = secured(receiver.address, &through.replace("user:wrong-one", "nobody"));
    let refused = try_bind("fixture", "test", &bad, None).await.unwrap_err().to_string();
    assert!(refused.contains("must hold user:password"), "{refused}");
    // Our own listener is no proxy.
    let own = secured(receiver.address, "proxy = \"http://127.0.0.1:1\"");
    let sent = send(&fixture(&own).await, "{}").await;
    assert!(
        matches!(sent.outcome, Outcome::Delivered(_)) && note(&sent).contains("postrider's own"),
        "{sent:?}"
    );
}
