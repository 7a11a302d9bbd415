//! The way of a destination's requests: its own certificate authority, its client certificate, its proxy.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};

use crate::grant::Grant;
use crate::secret::SecretSource;

/// A destination's `[tls]`: where its PEM texts come from. Read like secrets, and renewed like them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSources {
    /// Certificate authorities that are trusted in the place of the system's.
    pub ca: Option<SecretSource>,
    /// The certificate that we show, with its chain; it may hold the key too.
    pub client_cert: Option<SecretSource>,
    /// The key of that certificate.
    pub client_key: Option<SecretSource>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address, IPv6 in brackets.
    pub host: String,
    pub port: u16,
    /// Name of the secret that holds `user:password`.
    pub credentials: Option<String>,
}

impl TlsSources {
    /// The sources by the names of their keys, such as `tls.ca`.
    pub fn by_key(&self) -> BTreeMap<String, SecretSource> {
        let keys = [
            ("tls.ca", &self.ca),
            ("tls.client_cert", &self.client_cert),
            ("tls.client_key", &self.client_key),
        ];
        let given = keys.into_iter().filter_map(|(key, source)| Some((key, source.clone()?)));
        given.map(|(key, source)| (key.to_owned(), source)).collect()
    }
}

impl Proxy {
    /// Reads a URL such as `http://proxy.example.com:3128`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |problem: &str| {
            format!(
                "\"{url}\" is not a proxy: {problem}; a proxy is a URL such as \"http://proxy.example.com:3128\""
            )
        };
        let grant = Grant::parse(url).map_err(|error| wrong(error.problem()))?;
        let (host, port) = grant.plain_host().ok_or_else(|| {
            wrong("it must be http, without a wildcard; https goes through it in a tunnel")
        })?;
        Ok(Self { host: host.to_owned(), port, credentials: None })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyFile {
    url: String,
    credentials: Option<String>,
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProxyVisitor)
    }
}

struct ProxyVisitor;

impl<'de> Visitor<'de> for ProxyVisitor {
    type Value = Proxy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proxy's URL, or a table with url and credentials")
    }

    fn visit_str<E: Error>(self, url: &str) -> Result<Proxy, E> {
        Proxy::parse(url).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Proxy, A::Error> {
        let file = ProxyFile::deserialize(MapAccessDeserializer::new(map))?;
        let proxy = Proxy::parse(&file.url).map_err(Error::custom)?;
        Ok(Proxy { credentials: file.credentials, ..proxy })
    }
}

#[cfg(test)]
mod tests {
    use crate::Destination;

    fn parse(text: &str) -> Result<Destination, String> {
        Destination::parse("x", text).map_err(|error| error.problem)
    }

    #[test]
    fn a_proxy_is_a_url_or_a_table() {
        let proxy = |text: &str| parse(text).unwrap().proxy.unwrap();
        let plain = proxy("proxy = 'http://Proxy.example.com:3128'");
        assert_eq!((plain.host.as_str(), plain.port), ("proxy.example.com", 3128));
        assert_eq!(proxy("proxy = 'http://[::1]'").host, "[::1]");
        let secret = "secrets.p = { env = 'P' }\n[proxy]\nurl = 'http://p:1'\ncredentials = 'p'";
        assert_eq!(proxy(secret).credentials.as_deref(), Some("p"));
    }

    #[test]
    fn tls_sources_read_like_secrets() {
        let text = "[tls]\nca = { file = '/ca.pem' }\nclient_cert = { credential = 'cert' }\nclient_key = { env = 'KEY' }";
        let keys: Vec<String> = parse(text).unwrap().tls.by_key().into_keys().collect();
        assert_eq!(keys, ["tls.ca", "tls.client_cert", "tls.client_key"]);
    }

    #[test]
    fn what_is_no_proxy_or_no_tls_is_refused_with_the_reason() {
        for (text, problem) in [
            ("proxy = 'https://p:1'", "must be http"),
            ("proxy = 'http://*.p.test'", "without a wildcard"),
            ("proxy = 'p:3128'", "no scheme"),
            ("proxy = 'http://u:p@p:1'", "user information"),
            ("proxy = { url = 'http://p:1', credentials = 'p' }", "[secrets] does not define"),
            ("tls.cert = { file = '/a' }", "unknown key \"cert\""),
            ("tls.client_key = { file = '/a' }", "client_cert"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
