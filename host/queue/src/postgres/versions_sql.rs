//! Statements about plugins' versions.

/// $1: plugin, $2: hash, $3: version, $4: predecessor, $5: deliveries, $6: faults, $7: whether it worked.
pub(super) const TELL: &str = "INSERT INTO plugin_versions AS v \
     (plugin, hash, version, predecessor, tried, faults, worked, since) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, now()) \
     ON CONFLICT (plugin, hash) DO UPDATE SET version = excluded.version, \
     predecessor = coalesce(excluded.predecessor, v.predecessor), \
     tried = v.tried + excluded.tried, faults = v.faults + excluded.faults, \
     worked = v.worked OR excluded.worked \
     RETURNING plugin, hash, version, predecessor, tried, faults, worked, since";

/// $1: plugin, $2: hash that stays, $3: its predecessor, $4: how many of the newest stay.
pub(super) const FORGET: &str = "DELETE FROM plugin_versions \
     WHERE plugin = $1 AND hash <> $2 AND hash IS DISTINCT FROM $3 AND hash NOT IN ( \
       SELECT hash FROM plugin_versions WHERE plugin = $1 ORDER BY since DESC, hash LIMIT $4)";

pub(super) const VERSIONS: &str = "SELECT plugin, hash, version, predecessor, tried, faults, \
     worked, since FROM plugin_versions ORDER BY since DESC, plugin, hash";

/// $1: hash, $2: plugin, $3: version, $4: reason, $5: not where it has worked.
pub(super) const QUARANTINE: &str = "INSERT INTO quarantine (hash, plugin, version, reason, since) \
     SELECT $1, $2, $3, $4, now() \
     WHERE NOT $5 OR NOT EXISTS (SELECT 1 FROM plugin_versions WHERE hash = $1 AND worked) \
     ON CONFLICT DO NOTHING";

pub(super) const QUARANTINED: &str =
    "SELECT hash, plugin, version, reason, since FROM quarantine ORDER BY since DESC, hash";

/// $1: hash.
pub(super) const RELEASE: &str = "WITH r AS (DELETE FROM quarantine WHERE hash = $1 RETURNING hash), \
     f AS (UPDATE plugin_versions SET tried = 0, faults = 0, worked = false \
       WHERE hash IN (SELECT hash FROM r)) \
     SELECT hash FROM r";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[TELL, FORGET, VERSIONS, QUARANTINE, QUARANTINED, RELEASE];
