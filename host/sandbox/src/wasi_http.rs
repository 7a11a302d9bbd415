//! The way to the network for `wasi:http/outgoing-handler`, for `fetch` and existing clients: through the same door.

use std::future::Future;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::{timeout, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::outgoing::{Draft, Outgoing, Ticket};
use crate::refusal::Refusal;

/// The hooks of one instance.
pub(crate) struct Hooks {
    pub(crate) outgoing: Outgoing,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answered = Result<(Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for Hooks {
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_read: Io,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let ticket = self.outgoing.ticket();
        Box::new(async move { exchange(ticket?, request, options.unwrap_or_default()).await })
    }
}

async fn exchange(ticket: Ticket, request: Request<WasiBody>, options: RequestOptions) -> Answered {
    let (mut head, body) = request.into_parts();
    // Both follow from the URL and the body after expansion.
    head.headers.remove(HOST);
    head.headers.remove(CONTENT_LENGTH);
    let body = collect(&ticket, body).await?;
    let mut headers = Vec::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        headers.push((name.clone(), Bytes::copy_from_slice(value.as_bytes())));
    }
    let draft = Draft { method: head.method, url: head.uri.to_string(), headers, body };
    // The whole answer is read before the guest sees its head, so the guest's wish bounds both.
    let answer = match options.first_byte_timeout {
        Some(wish) => timeout(wish, ticket.exchange(draft)).await.unwrap_or(Err(Refusal::Timeout)),
        None => ticket.exchange(draft).await,
    }?;
    let mut response = Response::new(Full::new(answer.body).map_err(Error::from).boxed_unsync());
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).map_err(|_odd| Error::HttpProtocolError)?;
    *response.headers_mut() = answer.headers;
    let io: Io = Box::new(async { Ok(()) });
    Ok((response, io))
}

/// Reads what the guest writes, up to the destination's limit: placeholders may stand anywhere in it.
async fn collect(ticket: &Ticket, body: WasiBody) -> Result<Bytes, Error> {
    let limit = ticket.request_limit();
    let body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    match timeout_at(ticket.deadline(), body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => match error.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(other) => {
                tracing::debug!(request.limit = limit, "a request body was cut: {other}");
                Err(Error::HttpRequestBodySize(Some(limit)))
            }
        },
        Err(_elapsed) => Err(Refusal::Timeout.into()),
    }
}
