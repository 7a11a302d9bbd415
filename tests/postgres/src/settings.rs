//! What a test may choose, and the configuration file that follows from it.

use std::fmt::Write as _;
use std::path::Path;

/// How a cluster runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether what was committed survives a crash. What need not is committed faster.
    pub durable: bool,
    /// More settings of `postgresql.conf`. They win over the ones that are made here.
    pub settings: Vec<(String, String)>,
}

impl Settings {
    /// For tests of what the queue says: fast, and nothing survives a crash.
    pub fn quick() -> Self {
        Self::default()
    }

    /// For tests of crashes, and for measurements.
    pub fn durable() -> Self {
        Self { durable: true, ..Self::default() }
    }

    /// Adds a setting of `postgresql.conf`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The end of `postgresql.conf`; of two settings with one name the server takes the later.
    pub(crate) fn file(&self, sockets: &Path) -> String {
        let sockets = sockets.display().to_string();
        let shared_buffers = if self.durable { "256MB" } else { "64MB" };
        let durable = if self.durable { "on" } else { "off" };
        let ours = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &sockets),
            ("max_connections", "200"),
            ("shared_buffers", shared_buffers),
            ("fsync", durable),
            ("synchronous_commit", durable),
            ("full_page_writes", durable),
            ("logging_collector", "off"),
        ];
        let theirs = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        ours.into_iter().chain(theirs).fold(String::from("\n"), |mut file, (name, value)| {
            let value = value.replace('\\', r"\\").replace('\'', "''");
            writeln!(file, "{name} = '{value}'").ok();
            file
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_test_come_last_and_quoted() {
        let settings = Settings::quick().with("max_connections", "5").with("a.b", r"it's \ here");

        let file = settings.file(Path::new("/tmp/x"));

        assert!(file.contains("fsync = 'off'\n"), "{file}");
        assert!(file.ends_with("max_connections = '5'\na.b = 'it''s \\\\ here'\n"), "{file}");
    }

    #[test]
    fn a_durable_cluster_syncs() {
        let file = Settings::durable().file(Path::new("/tmp/x"));

        assert!(file.contains("fsync = 'on'\nsynchronous_commit = 'on'\n"), "{file}");
    }
}
