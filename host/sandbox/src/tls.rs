//! TLS of the guarded client: the system's certificate authorities, or a destination's own, and its certificate.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::secrets::Secrets;

/// The system's certificate authorities, and a configuration for everyone who has none of their own.
pub(crate) struct Tls {
    roots: Arc<RootCertStore>,
    common: ClientConfig,
}

impl Tls {
    /// Reads the system's certificate authorities.
    pub(crate) fn of_system() -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!("some certificate authorities of the system cannot be read: {error}");
        }
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(
                "the system has no certificate authorities: no https receiver will be trusted; install ca-certificates"
            );
        }
        let roots = Arc::new(roots);
        let common = builder()?.with_root_certificates(roots.clone()).with_no_client_auth();
        Ok(Self { roots, common })
    }

    /// The configuration of a destination. An error names the key that is wrong.
    pub(crate) fn of_destination(&self, secrets: &Secrets) -> Result<ClientConfig, String> {
        let (ca, cert) = (secrets.tls("tls.ca"), secrets.tls("tls.client_cert"));
        if ca.is_none() && cert.is_none() {
            return Ok(self.common.clone());
        }
        let roots = ca.map_or_else(|| Ok(self.roots.clone()), authorities)?;
        let builder =
            builder().map_err(|error| format!("tls: {error}"))?.with_root_certificates(roots);
        let Some(cert) = cert else { return Ok(builder.with_no_client_auth()) };
        let (key_name, key) = match secrets.tls("tls.client_key") {
            Some(key) => ("tls.client_key", key),
            None => ("tls.client_cert", cert),
        };
        let chain = certificates("tls.client_cert", cert)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_none| {
            format!(
                "{key_name}: it holds no private key in PEM; put one there, or set tls.client_key"
            )
        })?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("tls.client_cert: certificate and key do not serve: {error}"))
    }
}

/// The provider is named here and installed nowhere.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn authorities(pem: &str) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.ca", pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("tls.ca: a certificate cannot be used: {error}"))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(key: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = read.map_err(|error| format!("{key}: it is no PEM: {error:?}"))?;
    match certificates.is_empty() {
        true => Err(format!("{key}: it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(texts: &[(&str, &str)]) -> String {
        let texts = texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let secrets = Secrets::default().with_tls(texts);
        Tls::of_system().unwrap().of_destination(&secrets).unwrap_err()
    }

    #[test]
    fn what_is_no_certificate_or_key_is_named() {
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (texts, problem) in [
            (&[("tls.ca", "hello")][..], "tls.ca: it holds no certificate"),
            (&[("tls.ca", broken)], "tls.ca: it is no PEM"),
            (&[("tls.ca", empty)], "tls.ca: a certificate cannot be used"),
            (&[("tls.client_cert", "hello")], "tls.client_cert: it holds no certificate"),
            (&[("tls.client_cert", empty)], "set tls.client_key"),
            (
                &[("tls.client_cert", empty), ("tls.client_key", "x")],
                "tls.client_key: it holds no private key",
            ),
        ] {
            let error = refused(texts);
            assert!(error.contains(problem), "{problem}: {error}");
        }
    }
}
