//! Versions of plugins as all hosts of one queue share them: which one worked, how a new one does, and which are
//! quarantined.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::QueueError;

/// Versions of one plugin that are remembered besides the one that was told last and its predecessor.
pub const VERSIONS_KEPT: u32 = 20;

/// The part of a queue that remembers plugins' versions. Small, and written to only while a version is new.
#[async_trait]
pub trait Versions: Send + Sync {
    /// Adds what was seen of a version to what is known of it, and answers that. A predecessor replaces an older one.
    /// Of one plugin the newest [`VERSIONS_KEPT`] are remembered.
    async fn tell_version(&self, seen: &VersionSeen) -> Result<VersionRecord, QueueError>;

    /// Everything that is known of the versions of all plugins, the newest first.
    async fn versions(&self) -> Result<Vec<VersionRecord>, QueueError>;

    /// Quarantines a module by its hash. Answers whether that is new: it is not where the module is quarantined
    /// already, and with `unless_worked` where it has delivered something anywhere.
    async fn quarantine(
        &self,
        module: &Quarantine,
        unless_worked: bool,
    ) -> Result<bool, QueueError>;

    /// The quarantined modules, the newest first.
    async fn quarantined(&self) -> Result<Vec<QuarantineRecord>, QueueError>;

    /// Takes a module out of the quarantine and forgets how it did. Answers whether it was in there.
    async fn release_module(&self, hash: &str) -> Result<bool, QueueError>;
}

/// What a host has seen of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSeen {
    pub plugin: String,
    /// SHA-256 of the module, in hexadecimal.
    pub hash: String,
    /// What the module calls its version.
    pub version: String,
    /// Hash of the version before it that worked; none where there is none, or none is told.
    pub predecessor: Option<String>,
    /// Deliveries that it was tried with.
    pub tried: u32,
    /// Those of them that it failed by its own fault.
    pub faults: u32,
    /// Whether it delivered one.
    pub worked: bool,
}

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// Everything that was seen, added up.
    pub seen: VersionSeen,
    /// When it was first told of, by the queue's clock.
    pub since: Timestamp,
}

/// A module that no host may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// SHA-256 of the module, in hexadecimal.
    pub hash: String,
    /// The plugin that it was a version of.
    pub plugin: String,
    pub version: String,
    /// The line for the operator.
    pub reason: String,
}

/// A module in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRecord {
    pub module: Quarantine,
    /// By the queue's clock.
    pub since: Timestamp,
}
