//! Certificates, read again when they change: a renewal needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The certificate in force.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: ArcSwap<CertifiedKey>,
    /// The files' bytes, as they were when last read.
    seen: std::sync::Mutex<Option<Bytes>>,
}

type Bytes = (Vec<u8>, Vec<u8>);

impl Certificate {
    /// Reads the files. Errors name the one that is wrong.
    pub fn open(files: Files) -> Result<Arc<Self>> {
        let bytes = read(&files)?;
        let current = ArcSwap::from_pointee(parse(&files, &bytes)?);
        Ok(Arc::new(Self { files, current, seen: std::sync::Mutex::new(Some(bytes)) }))
    }

    /// What the listeners encrypt with.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks at the files now and then, and takes what changed. What is broken leaves the last good one in force.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            self.look();
        }
    }

    /// Takes the files, if they changed.
    pub fn look(&self) {
        let found = read(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What cannot be read is said once, until it can be.
        if seen.as_ref() == found.as_ref().ok() {
            return;
        }
        let parsed = found.and_then(|bytes| parse(&self.files, &bytes).map(|key| (bytes, key)));
        match parsed {
            Ok((bytes, key)) => {
                *seen = Some(bytes);
                self.current.store(Arc::new(key));
                tracing::info!(tls.certificate = %self.files.certificate.display(), "the certificate was renewed");
            }
            Err(error) => {
                // A renewal writes one file after the other: both are looked at again until they fit.
                let bytes = read(&self.files).ok();
                if *seen != bytes {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the new certificate cannot be used; the last one stays in force"
                    );
                }
                *seen = bytes;
            }
        }
    }
}

/// Gives each connection the certificate of its moment.
#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

fn read(files: &Files) -> Result<Bytes> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok((read(&files.certificate)?, read(&files.key)?))
}

fn parse(files: &Files, (certificate, key): &Bytes) -> Result<CertifiedKey> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().with_context(
            || format!("{} is no certificate in PEM (tls_cert)", files.certificate.display()),
        )?;
    anyhow::ensure!(
        !chain.is_empty(),
        "{} has no certificate in PEM (tls_cert)",
        files.certificate.display()
    );
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("{} is no private key in PEM (tls_key)", files.key.display()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).with_context(|| {
        format!(
            "{} and {} do not belong together",
            files.certificate.display(),
            files.key.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's certificate, the key's file and its own.
    const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pems/server.pem");
    const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pems/client.pem");

    fn put(files: &Files, from: &str) {
        std::fs::copy(from, &files.certificate).unwrap();
        std::fs::copy(from, &files.key).unwrap();
    }

    fn first(certificate: &Certificate) -> Vec<u8> {
        certificate.current.load().cert.first().unwrap().to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        put(&files, SERVER);
        let certificate = Certificate::open(files.clone()).unwrap();
        let before = first(&certificate);
        std::fs::write(&files.certificate, "broken").unwrap();
        certificate.look();
        assert_eq!(first(&certificate), before);
        // Half of a renewal: the key of another certificate.
        std::fs::copy(CLIENT, &files.certificate).unwrap();
        certificate.look();
        assert_eq!(first(&certificate), before);
        put(&files, CLIENT);
        certificate.look();
        assert_ne!(first(&certificate), before);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        let problem =
            |files: &Files| format!("{:#}", Certificate::open(files.clone()).unwrap_err());
        assert!(problem(&files).contains("cannot read"));
        put(&files, SERVER);
        std::fs::write(&files.certificate, "").unwrap();
        assert!(problem(&files).contains("cert.pem has no certificate in PEM"));
        put(&files, SERVER);
        std::fs::write(&files.key, "").unwrap();
        assert!(problem(&files).contains("key.pem is no private key in PEM"));
        put(&files, SERVER);
        std::fs::copy(CLIENT, &files.key).unwrap();
        assert!(problem(&files).contains("do not belong together"));
    }
}
