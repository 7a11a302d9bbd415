//! A loaded plugin: compiled, type-checked, and asked what it is.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Destination, Fault};
use tokio::runtime::Handle;

use crate::binding::{Binding, StateAccess};
use crate::bindings::NotifierPre;
use crate::call::Configured;
use crate::client::Client;
use crate::context::Context;
use crate::guard::Guard;
use crate::notifier::{BindError, Notifier, Wires};
use crate::offline::Receiver;
use crate::sandbox::Inner;
use crate::secrets::Secrets;
use crate::state::StateStore;

/// Longest `configure` at load: it holds up what else a look at the plugins directory found.
const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a plugin says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of the `[config]` table.
    pub config_schema: Option<String>,
    /// Origins that it will want granted; hints, no grants.
    pub origins: Vec<String>,
    /// Names of the secrets that it can use.
    pub secrets: Vec<String>,
    /// Largest content in bytes that one `send` takes.
    pub max_content: Option<u32>,
}

/// A plugin in memory. Stays usable for as long as somebody holds it, also after its file changed.
pub struct Plugin {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) size: usize,
    pub(crate) description: Description,
    pub(crate) warnings: Vec<String>,
    pub(crate) compiled: Option<Duration>,
    pub(crate) pre: NotifierPre<Context>,
    pub(crate) sandbox: Arc<Inner>,
}

impl Plugin {
    /// The file's name without `.wasm`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What is odd about it, for the operator.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How long compiling took; none where the code came from the cache.
    pub fn compiled(&self) -> Option<Duration> {
        self.compiled
    }

    pub fn from_cache(&self) -> bool {
        self.compiled.is_none()
    }

    /// Binds it to a destination: runs `configure` once, without network. `secrets` are the destination's, resolved.
    pub async fn bind(
        self: &Arc<Self>,
        destination: &Destination,
        secrets: Secrets,
        state: Option<Arc<dyn StateStore>>,
    ) -> Result<Notifier, BindError> {
        let wires = Wires::of(&self.sandbox, destination, &secrets).map_err(BindError::Settings)?;
        let clients = |binding: &_| wires.clients(&self.sandbox, binding, destination);
        self.bind_to(destination, secrets, state, clients).await
    }

    /// Binds it to a destination whose requests all go to `receiver` and not to the network: for trying it out. Grants
    /// and budgets count as ever; names are not resolved, and the destination's own TLS and proxy are left aside.
    pub async fn bind_offline(
        self: &Arc<Self>,
        destination: &Destination,
        secrets: Secrets,
        state: Option<Arc<dyn StateStore>>,
        receiver: Arc<dyn Receiver>,
    ) -> Result<Notifier, BindError> {
        let clients = |_: &_| vec![Client::Offline(receiver); self.sandbox.workers.count()];
        self.bind_to(destination, secrets, state, clients).await
    }

    async fn bind_to(
        self: &Arc<Self>,
        destination: &Destination,
        secrets: Secrets,
        state: Option<Arc<dyn StateStore>>,
        clients: impl FnOnce(&Binding) -> Vec<Client>,
    ) -> Result<Notifier, BindError> {
        let state = state.and_then(|store| {
            let runtime = Handle::try_current().ok()?;
            Some(StateAccess { store, runtime })
        });
        let most = destination.limits.file;
        if self.size as u64 > most {
            return Err(BindError::Settings(format!(
                "limits.file: the module has {} bytes, at most {most} are accepted; raise it or use a smaller module",
                self.size
            )));
        }
        let guard = Guard::new(destination, self.sandbox.own.clone());
        let binding = Arc::new(Binding::new(destination, guard, secrets, state));
        let time = binding.timeout.min(CONFIGURE_TIMEOUT);
        let call = self.sandbox.call(&self.pre, &binding, None, time);
        let (configured, _) = self.sandbox.run(time, move |_| call.configure()).await;
        match configured {
            Ok(Configured::Enabled) => {
                let clients = clients(&binding);
                Ok(Notifier::new(self.clone(), binding, destination, clients))
            }
            Ok(Configured::Disabled) => Err(BindError::Disabled),
            Ok(Configured::Refused(reason)) => Err(BindError::Refused(reason)),
            Err(abrupt) => Err(BindError::Fault { fault: abrupt.fault, reason: abrupt.reason }),
        }
    }
}

impl BindError {
    /// The fault of a `configure` that came to no answer.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Fault { fault, .. } => Some(*fault),
            Self::Disabled | Self::Refused(_) | Self::Settings(_) => None,
        }
    }
}
