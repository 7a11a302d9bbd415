//! The contract's imports: what a guest may ask of the host.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, Method};
use sha2::Sha256;
use wasmtime::component::{HasSelf, Linker};

use crate::binding::{Binding, StateAccess};
use crate::bindings::postrider::notifier::host::{Algorithm, Level as GuestLevel, SignError};
use crate::bindings::postrider::notifier::http::{HttpError, Request, Response};
use crate::bindings::postrider::notifier::state::{Entry, StateError as GuestStateError};
use crate::bindings::postrider::notifier::{host, http as http_import, state};
use crate::client::Answer;
use crate::context::Context;
use crate::log::Level;
use crate::outgoing::Draft;
use crate::state::{MAX_KEY, MAX_VALUE, StateEntry, StateError};

/// How a Standard Webhooks secret begins; base64 follows.
const WEBHOOK_SECRET: &str = "whsec_";

/// Everything that a notifier may import: ours, and all of WASI 0.2, which denies in its context.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Context>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    host::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)?;
    http_import::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)?;
    state::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)?;
    Ok(linker)
}

impl host::Host for Context {
    fn log(&mut self, level: GuestLevel, message: String) {
        let level = match level {
            GuestLevel::Trace => Level::Trace,
            GuestLevel::Debug => Level::Debug,
            GuestLevel::Info => Level::Info,
            GuestLevel::Warn => Level::Warn,
            GuestLevel::Error => Level::Error,
        };
        self.log.line(level, &message);
    }

    fn setting(&mut self, path: String) -> Option<String> {
        self.config.setting(&path)
    }

    fn secret(&mut self, name: String) -> Option<String> {
        self.binding.secrets.get(&name).filter(|_| self.binding.reveal).map(str::to_owned)
    }

    fn sign(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let value = self.binding.secrets.get(&secret).ok_or(SignError::Missing)?;
        sign(value, algorithm, &data)
            .map_err(|problem| SignError::Unusable(format!("secret \"{secret}\" {problem}")))
    }
}

/// Signs with the first of the keys in `value`; the others are old ones that receivers may still know.
fn sign(value: &str, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, &'static str> {
    let key = value.split_whitespace().next().ok_or("is empty")?;
    let key = match key.strip_prefix(WEBHOOK_SECRET) {
        Some(text) => STANDARD
            .decode(text)
            .or_else(|_no_padding| STANDARD_NO_PAD.decode(text))
            .map_err(|_bad| "begins with whsec_ but does not go on in base64")?,
        None => key.as_bytes().to_vec(),
    };
    match algorithm {
        Algorithm::HmacSha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_bad| "is no HMAC key")?;
            mac.update(data);
            Ok(mac.finalize().into_bytes().to_vec())
        }
        Algorithm::Ed25519 => {
            let seed = <[u8; 32]>::try_from(key).map_err(
                |_length| "is no ed25519 seed: 32 bytes, or whsec_ and 32 bytes in base64",
            )?;
            Ok(SigningKey::from_bytes(&seed).sign(data).to_bytes().to_vec())
        }
    }
}

impl http_import::Host for Context {
    async fn send(&mut self, request: Request) -> Result<Response, HttpError> {
        let ticket = self.hooks.outgoing.ticket()?;
        let answer = ticket.exchange(draft(request)?).await?;
        Ok(response(answer))
    }
}

fn draft(request: Request) -> Result<Draft, HttpError> {
    let method = match request.method.as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "HEAD" => Method::HEAD,
        _ => {
            return Err(HttpError::Invalid(
                "method: must be GET, POST, PUT, PATCH, DELETE or HEAD".to_owned(),
            ));
        }
    };
    let mut headers = Vec::with_capacity(request.headers.len());
    for (name, value) in request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_bad| {
            HttpError::Invalid("a header name has characters that cannot be sent".to_owned())
        })?;
        headers.push((name, Bytes::from(value)));
    }
    Ok(Draft { method, url: request.url, headers, body: request.body.into() })
}

fn response(answer: Answer) -> Response {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Response {
        status: answer.status,
        headers: answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect(),
        body: answer.body.into(),
    }
}

impl state::Host for Context {
    async fn get(&mut self, key: String) -> Result<Option<Entry>, GuestStateError> {
        check(&key, &[])?;
        let entry = ask(&self.binding, |state, destination| async move {
            state.store.get(&destination, &key).await
        })
        .await?;
        Ok(entry.map(|StateEntry { value, version }| Entry { value: value.into(), version }))
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<(), GuestStateError> {
        check(&key, &value)?;
        let ttl = ttl_ms.map(Duration::from_millis);
        ask(&self.binding, |state, destination| async move {
            state.store.set(&destination, &key, value.into(), ttl).await
        })
        .await
    }

    async fn remove(&mut self, key: String) -> Result<(), GuestStateError> {
        check(&key, &[])?;
        ask(&self.binding, |state, destination| async move {
            state.store.remove(&destination, &key).await
        })
        .await
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, GuestStateError> {
        check(&key, &value)?;
        let ttl = ttl_ms.map(Duration::from_millis);
        ask(&self.binding, |state, destination| async move {
            state.store.compare_and_set(&destination, &key, expected, value.into(), ttl).await
        })
        .await
    }
}

/// Asks the daemon's store on the daemon's runtime: its connections belong there.
fn ask<T, F>(
    binding: &Binding,
    call: impl FnOnce(StateAccess, String) -> F + Send,
) -> impl Future<Output = Result<T, GuestStateError>> + Send
where
    T: Send + 'static,
    F: Future<Output = Result<T, StateError>> + Send + 'static,
{
    let asked = binding.state.clone().map(|state| {
        let runtime = state.runtime.clone();
        runtime.spawn(call(state, binding.destination.clone()))
    });
    async {
        let Some(asked) = asked else {
            return Err(GuestStateError::Unavailable(
                "this destination has no state here".to_owned(),
            ));
        };
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(StateError::Quota(text))) => Err(GuestStateError::Quota(text)),
            Ok(Err(StateError::Unavailable(text))) => Err(GuestStateError::Unavailable(text)),
            Err(_ended) => {
                Err(GuestStateError::Unavailable("the daemon is shutting down".to_owned()))
            }
        }
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), GuestStateError> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(GuestStateError::Quota(format!(
            "a key has 1 to {MAX_KEY} bytes, this one {}",
            key.len()
        )));
    }
    if value.len() > MAX_VALUE {
        return Err(GuestStateError::Quota(format!(
            "a value has at most {MAX_VALUE} bytes, this one {}",
            value.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Verifier as _;

    #[test]
    fn a_webhook_secret_signs_as_the_standard_says() {
        // The example of the Standard Webhooks specification's reference libraries.
        let data = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let signed =
            sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Algorithm::HmacSha256, data).unwrap();
        assert_eq!(STANDARD.encode(signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_first_of_several_keys_signs() {
        let new = sign("new", Algorithm::HmacSha256, b"x").unwrap();
        assert_eq!(sign(" new old\n", Algorithm::HmacSha256, b"x").unwrap(), new);
        assert!(sign(" ", Algorithm::HmacSha256, b"x").is_err());
    }

    #[test]
    fn an_ed25519_seed_signs_what_its_public_key_verifies() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        let signed = sign(&secret, Algorithm::Ed25519, b"data").unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signed).unwrap();
        assert!(key.verifying_key().verify(b"data", &signature).is_ok());
        assert!(sign("short", Algorithm::Ed25519, b"data").unwrap_err().contains("32 bytes"));
    }
}
