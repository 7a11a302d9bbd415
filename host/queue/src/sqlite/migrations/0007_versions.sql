-- How plugins' versions do, and which modules no host may use. Both hold a handful of rows.

CREATE TABLE plugin_versions (
  plugin      TEXT NOT NULL,
  -- SHA-256 of the module, in hexadecimal.
  hash        TEXT NOT NULL,
  version     TEXT NOT NULL,
  -- The version before it that worked.
  predecessor TEXT,
  -- Counted while it is new.
  tried       INTEGER NOT NULL DEFAULT 0 CHECK (tried >= 0),
  faults      INTEGER NOT NULL DEFAULT 0 CHECK (faults >= 0),
  worked      INTEGER NOT NULL DEFAULT 0 CHECK (worked IN (0, 1)),
  since       INTEGER NOT NULL,
  PRIMARY KEY (plugin, hash),
  CHECK (predecessor <> hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
  hash    TEXT PRIMARY KEY,
  plugin  TEXT NOT NULL,
  version TEXT NOT NULL,
  reason  TEXT NOT NULL,
  since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
