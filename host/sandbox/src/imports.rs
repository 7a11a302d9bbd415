//! The contract's imports: what a guest may ask of the host.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::clocks::WasiClocks;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use crate::binding::{Binding, StateAccess};
use crate::bindings::postrider::notifier::host::{Algorithm, Level as GuestLevel, SignError};
use crate::bindings::postrider::notifier::http::{HttpError, Request, Response};
use crate::bindings::postrider::notifier::state::{Entry, StateError as GuestStateError};
use crate::bindings::postrider::notifier::{host, http as http_import, state};
use crate::client::Answer;
use crate::context::Context;
use crate::log::Level;
use crate::outgoing::Draft;
use crate::signing::{self, Way};
use crate::state::{MAX_KEY, MAX_VALUE, StateEntry, StateError};

/// Everything that a notifier may import: ours, and all of WASI 0.2, which denies in its context.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Context>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    wall_clock::add_to_linker::<_, WasiClocks>(&mut linker, Context::time)?;
    monotonic_clock::add_to_linker::<_, WasiClocks>(&mut linker, Context::time)?;
    linker.allow_shadowing(false);
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
        let way = match algorithm {
            Algorithm::HmacSha256 => Way::HmacSha256,
            Algorithm::Ed25519 => Way::Ed25519,
        };
        self.signed(&secret, |value| signing::sign(value, way, &data))
    }

    fn sign_webhook(&mut self, secret: String, data: Vec<u8>) -> Result<String, SignError> {
        self.signed(&secret, |value| signing::sign_webhook(value, &data))
    }
}

impl Context {
    fn signed<T>(
        &self,
        secret: &str,
        sign: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<T, SignError> {
        let value = self.binding.secrets.get(secret).ok_or(SignError::Missing)?;
        sign(value).map_err(|problem| SignError::Unusable(format!("secret \"{secret}\" {problem}")))
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
