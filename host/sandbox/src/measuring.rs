//! The guarded client without a guest: what the bench compares guests and a bare client with.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method};
use postrider_core::Destination;
use tokio::runtime::Handle;

use crate::binding::Binding;
use crate::client::Client;
use crate::guard::Guard;
use crate::notifier::Wires;
use crate::outgoing::{Draft, Outgoing, Trace};
use crate::placeholders::Tokens;
use crate::refusal::Refusal;
use crate::sandbox::Sandbox;
use crate::secrets::Secrets;

/// One destination's door to the network, with connections of its own.
pub struct Door {
    binding: Arc<Binding>,
    client: Client,
}

impl Door {
    /// An error names the key of the destination that is wrong.
    ///
    /// # Panics
    /// Outside of a runtime, which its connections live on.
    pub fn new(sandbox: &Sandbox, destination: &Destination) -> Result<Self, String> {
        let (inner, secrets) = (sandbox.inner(), Secrets::default());
        let wires = Wires::of(inner, destination, &secrets)?;
        let guard = Guard::new(destination, inner.own.clone());
        let binding = Arc::new(Binding::new(destination, guard, secrets, None));
        let client = wires.client(&binding, destination, &Handle::current());
        Ok(Self { binding, client })
    }

    /// Posts as a fresh instance would: with budgets, checks and a deadline of its own. Gives the status.
    pub async fn post(
        &self,
        url: String,
        headers: Vec<(HeaderName, Bytes)>,
        body: Bytes,
    ) -> Result<u16, String> {
        let text = |refusal: Refusal| format!("{refusal:?}");
        let client = Some(self.client.clone());
        let mut outgoing = Outgoing::new(self.binding.clone(), Tokens::default(), client);
        outgoing.open(Trace::default());
        let draft = Draft { method: Method::POST, url, headers, body };
        let ticket = outgoing.ticket().map_err(text)?;
        ticket.exchange(draft).await.map(|answer| answer.status).map_err(text)
    }
}
