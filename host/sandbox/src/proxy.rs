//! A destination's HTTP proxy: a tunnel for https, whole URLs for http. Names are resolved there, so it is the proxy
//! that keeps requests out of private networks; which origins may be asked for is checked here as ever.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use postrider_core::Destination;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::guard::{Host, parse_host, port};
use crate::secrets::Secrets;

/// Largest answer to CONNECT, in bytes.
const MAX_ANSWER: usize = 8 << 10;

/// The proxy of a destination.
pub(crate) struct Proxy {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Value of the header `proxy-authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy that a destination names, with its credentials. An error names what is wrong.
    pub(crate) fn of(destination: &Destination, secrets: &Secrets) -> Result<Option<Self>, String> {
        let Some(proxy) = &destination.proxy else { return Ok(None) };
        let host = parse_host(&proxy.host).map_err(|problem| format!("proxy: {problem}"))?;
        let authorization = match &proxy.credentials {
            Some(name) => Some(basic(secrets.get(name).unwrap_or_default()).ok_or_else(|| {
                format!("proxy.credentials: the secret \"{name}\" must hold user:password")
            })?),
            None => None,
        };
        Ok(Some(Self { host, port: proxy.port, authorization }))
    }

    /// Asks for a tunnel to the host of `url`.
    pub(crate) async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        url: &Uri,
    ) -> io::Result<()> {
        let host = url.host().unwrap_or_default();
        let port = port(url).unwrap_or_default();
        let mut ask =
            format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            ask.extend_from_slice(b"proxy-authorization: ");
            ask.extend_from_slice(authorization.as_bytes());
            ask.extend_from_slice(b"\r\n");
        }
        ask.extend_from_slice(b"\r\n");
        stream.write_all(&ask).await?;
        let head = head(stream).await?;
        let status = String::from_utf8_lossy(&head);
        let status = status.lines().next().unwrap_or_default();
        match status.split(' ').nth(1) {
            Some("200") if status.starts_with("HTTP/1.") => Ok(()),
            _ => Err(io::Error::other(format!("the proxy refuses a tunnel: {status}"))),
        }
    }
}

fn basic(credentials: &str) -> Option<HeaderValue> {
    credentials.split_once(':')?;
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads to the end of the head and not a byte further: what follows is the receiver's.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_ANSWER {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tunnel(answer: &'static [u8]) -> (io::Result<()>, String) {
        let proxy = Proxy { host: Host::Name("p".into()), port: 1, authorization: basic("u:p") };
        let (mut near, mut far) = tokio::io::duplex(64 << 10);
        far.write_all(answer).await.unwrap();
        let url = "https://[2606:4700::1]/x".parse().unwrap();
        let opened = proxy.tunnel(&mut near, &url).await;
        drop(near);
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        (opened, asked)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_host_port_and_credentials() {
        let (opened, asked) = tunnel(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n").await;
        assert!(opened.is_ok());
        assert_eq!(
            asked,
            "CONNECT [2606:4700::1]:443 HTTP/1.1\r\nhost: [2606:4700::1]:443\r\nproxy-authorization: Basic dTpw\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn everything_but_200_is_no_tunnel() {
        for answer in [
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"SSH-2.0-x 200\r\n\r\n",
            &[b'x'; MAX_ANSWER + 1],
        ] {
            let (opened, _) = tunnel(answer).await;
            assert!(opened.is_err());
        }
        assert!(basic("nobody").is_none() && basic("a:b\n").is_some());
    }
}
