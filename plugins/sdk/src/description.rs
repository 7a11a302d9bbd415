//! What a module says of itself.

pub use crate::bindings::exports::postrider::notifier::handler::Description;

impl Description {
    /// Describes a module that takes no secrets and content of any size.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            config_schema: None,
            origins: Vec::new(),
            secrets: Vec::new(),
            max_content: None,
            attributes: Vec::new(),
        }
    }

    /// Adds the JSON Schema of the `[config]` table.
    #[must_use]
    pub fn config_schema(mut self, schema: &str) -> Self {
        self.config_schema = Some(schema.to_owned());
        self
    }

    /// Adds an origin that the operator will want to grant, such as `https://hooks.slack.com`.
    #[must_use]
    pub fn origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.to_owned());
        self
    }

    /// Adds the name of a secret that the module can use.
    #[must_use]
    pub fn secret(mut self, name: &str) -> Self {
        self.secrets.push(name.to_owned());
        self
    }

    /// Asks the host to split content of more bytes than this.
    #[must_use]
    pub fn max_content(mut self, bytes: u32) -> Self {
        self.max_content = Some(bytes);
        self
    }
}
