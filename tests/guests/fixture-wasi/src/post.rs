//! A POST through `wasi:http/outgoing-handler`.

use std::cell::Cell;

use crate::bindings::exports::postrider::notifier::handler::Notification;
use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

/// What `blocking-write-and-flush` takes at once.
const CHUNK: usize = 4096;

/// Posts the content; the answer is the status, or the error with its step.
pub(crate) fn post(url: &str, notification: &Notification) -> String {
    match try_post(url, notification) {
        Ok(status) => status.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// Header tables that are all kept.
pub(crate) fn handles(count: usize) -> String {
    let kept: Vec<Fields> = (0..count).map(|_| Fields::new()).collect();
    format!("{} handles", kept.len())
}

/// Header tables that nobody gives back, and which time this is.
pub(crate) fn leak(count: usize) -> String {
    thread_local!(static TIMES: Cell<u32> = const { Cell::new(0) });
    (0..count).map(|_| Fields::new()).for_each(std::mem::forget);
    TIMES.set(TIMES.get() + 1);
    TIMES.get().to_string()
}

/// One header of so many bytes.
pub(crate) fn header(size: usize) -> String {
    let appended = Fields::new().append("x-large", &vec![b'x'; size]);
    match appended {
        Ok(()) => format!("{size} bytes"),
        Err(error) => format!("error: {error:?}"),
    }
}

fn try_post(url: &str, notification: &Notification) -> Result<u16, String> {
    let request = request(url, &notification.id)?;
    let body = request.body().map_err(|()| "body")?;
    let answer = handle(request, None).map_err(|code| format!("handle: {code:?}"))?;
    write(body, &notification.content)?;
    answer.subscribe().block();
    let answer = answer.get().ok_or("no answer")?.map_err(|()| "answer taken twice")?;
    Ok(answer.map_err(|code| format!("answer: {code:?}"))?.status())
}

fn request(url: &str, id: &str) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(format!("url {url:?}")),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers = Fields::new();
    headers.append("webhook-id", id.as_bytes()).map_err(|error| format!("header: {error:?}"))?;

    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Post).map_err(|()| "method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    Ok(request)
}

fn write(body: OutgoingBody, content: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "stream")?;
    for chunk in content.chunks(CHUNK) {
        stream.blocking_write_and_flush(chunk).map_err(|error| format!("write: {error:?}"))?;
    }
    // The stream is a child of the body and must go first.
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|code| format!("finish: {code:?}"))
}
