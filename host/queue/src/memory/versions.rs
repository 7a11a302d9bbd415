//! Versions of plugins.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::MemoryQueue;
use crate::versions::{
    Quarantine, QuarantineRecord, VERSIONS_KEPT, VersionRecord, VersionSeen, Versions,
};
use crate::{QueueError, millis};

/// What is known of versions.
#[derive(Debug, Default)]
pub(super) struct Book {
    versions: Vec<(VersionSeen, i64)>,
    quarantine: Vec<(Quarantine, i64)>,
}

impl Book {
    fn tell(&mut self, told: &VersionSeen, now: i64) -> VersionRecord {
        let same = |seen: &VersionSeen| (&seen.plugin, &seen.hash) == (&told.plugin, &told.hash);
        let (seen, since) = match self.versions.iter_mut().find(|(seen, _)| same(seen)) {
            Some((seen, since)) => {
                seen.version.clone_from(&told.version);
                seen.predecessor = told.predecessor.clone().or(seen.predecessor.take());
                seen.tried += told.tried;
                seen.faults += told.faults;
                seen.worked |= told.worked;
                (seen.clone(), *since)
            }
            None => {
                self.versions.push((told.clone(), now));
                (told.clone(), now)
            }
        };
        self.forget(&seen);
        VersionRecord { seen, since: millis::timestamp(since) }
    }

    /// Forgets the oldest versions of a plugin, but never the one that was just told, nor its predecessor.
    fn forget(&mut self, told: &VersionSeen) {
        self.versions.sort_by_key(|(seen, since)| (Reverse(*since), seen.hash.clone()));
        let mut left = VERSIONS_KEPT;
        self.versions.retain(|(seen, _)| {
            if seen.plugin != told.plugin {
                return true;
            }
            let newest = left > 0;
            left = left.saturating_sub(1);
            newest || seen.hash == told.hash || Some(&seen.hash) == told.predecessor.as_ref()
        });
    }
}

#[async_trait]
impl Versions for MemoryQueue {
    async fn tell_version(&self, seen: &VersionSeen) -> Result<VersionRecord, QueueError> {
        let mut tables = self.open()?;
        let now = tables.now;
        Ok(tables.book.tell(seen, now))
    }

    async fn versions(&self) -> Result<Vec<VersionRecord>, QueueError> {
        let tables = self.open()?;
        let mut versions: Vec<_> = tables.book.versions.iter().collect();
        versions
            .sort_by_key(|(seen, since)| (Reverse(*since), seen.plugin.clone(), seen.hash.clone()));
        let record = |(seen, since): &(VersionSeen, i64)| VersionRecord {
            seen: seen.clone(),
            since: millis::timestamp(*since),
        };
        Ok(versions.into_iter().map(record).collect())
    }

    async fn quarantine(
        &self,
        module: &Quarantine,
        unless_worked: bool,
    ) -> Result<bool, QueueError> {
        let mut tables = self.open()?;
        let now = tables.now;
        let book = &mut tables.book;
        let there = book.quarantine.iter().any(|(there, _)| there.hash == module.hash);
        let mut versions = book.versions.iter();
        let worked = versions.any(|(seen, _)| seen.hash == module.hash && seen.worked);
        if there || (unless_worked && worked) {
            return Ok(false);
        }
        book.quarantine.push((module.clone(), now));
        Ok(true)
    }

    async fn quarantined(&self) -> Result<Vec<QuarantineRecord>, QueueError> {
        let tables = self.open()?;
        let mut quarantine: Vec<_> = tables.book.quarantine.iter().collect();
        quarantine.sort_by_key(|(module, since)| (Reverse(*since), module.hash.clone()));
        let record = |(module, since): &(Quarantine, i64)| QuarantineRecord {
            module: module.clone(),
            since: millis::timestamp(*since),
        };
        Ok(quarantine.into_iter().map(record).collect())
    }

    async fn release_module(&self, hash: &str) -> Result<bool, QueueError> {
        let mut tables = self.open()?;
        let book = &mut tables.book;
        let before = book.quarantine.len();
        book.quarantine.retain(|(module, _)| module.hash != hash);
        if book.quarantine.len() == before {
            return Ok(false);
        }
        for (seen, _) in book.versions.iter_mut().filter(|(seen, _)| seen.hash == hash) {
            *seen = VersionSeen { tried: 0, faults: 0, worked: false, ..seen.clone() };
        }
        Ok(true)
    }
}
