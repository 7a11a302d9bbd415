//! Statements about plugins' versions.

/// ?1: plugin, ?2: hash, ?3: version, ?4: predecessor, ?5: deliveries, ?6: faults, ?7: whether it worked, ?8: now.
pub(super) const TELL: &str = "INSERT INTO plugin_versions \
     (plugin, hash, version, predecessor, tried, faults, worked, since) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     ON CONFLICT (plugin, hash) DO UPDATE SET version = excluded.version, \
     predecessor = coalesce(excluded.predecessor, predecessor), \
     tried = tried + excluded.tried, faults = faults + excluded.faults, \
     worked = worked OR excluded.worked";

/// ?1: plugin, ?2: hash that stays with its predecessor, ?3: how many of the newest stay.
pub(super) const FORGET: &str = "DELETE FROM plugin_versions \
     WHERE plugin = ?1 AND hash <> ?2 AND hash IS NOT ( \
       SELECT predecessor FROM plugin_versions WHERE plugin = ?1 AND hash = ?2) \
     AND hash NOT IN ( \
       SELECT hash FROM plugin_versions WHERE plugin = ?1 ORDER BY since DESC, hash LIMIT ?3)";

/// ?1: plugin, ?2: hash.
pub(super) const VERSION: &str = "SELECT plugin, hash, version, predecessor, tried, faults, \
     worked, since FROM plugin_versions WHERE plugin = ?1 AND hash = ?2";

pub(super) const VERSIONS: &str = "SELECT plugin, hash, version, predecessor, tried, faults, \
     worked, since FROM plugin_versions ORDER BY since DESC, plugin, hash";

/// ?1: hash, ?2: plugin, ?3: version, ?4: reason, ?5: not where it has worked, ?6: now.
pub(super) const QUARANTINE: &str = "INSERT INTO quarantine (hash, plugin, version, reason, since) \
     SELECT ?1, ?2, ?3, ?4, ?6 \
     WHERE NOT ?5 OR NOT EXISTS (SELECT 1 FROM plugin_versions WHERE hash = ?1 AND worked) \
     ON CONFLICT DO NOTHING";

pub(super) const QUARANTINED: &str =
    "SELECT hash, plugin, version, reason, since FROM quarantine ORDER BY since DESC, hash";

/// ?1: hash.
pub(super) const RELEASE: &str = "DELETE FROM quarantine WHERE hash = ?1";

/// ?1: hash. Forgets how it did.
pub(super) const FRESH: &str =
    "UPDATE plugin_versions SET tried = 0, faults = 0, worked = 0 WHERE hash = ?1";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] =
    &[TELL, FORGET, VERSION, VERSIONS, QUARANTINE, QUARANTINED, RELEASE, FRESH];
