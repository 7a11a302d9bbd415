-- How plugins' versions do, and which modules no host may use. Both hold a handful of rows.

CREATE TABLE plugin_versions (
  plugin      text NOT NULL,
  -- SHA-256 of the module, in hexadecimal.
  hash        text NOT NULL,
  version     text NOT NULL,
  -- The version before it that worked.
  predecessor text,
  -- Counted while it is new.
  tried       bigint NOT NULL DEFAULT 0 CHECK (tried >= 0),
  faults      bigint NOT NULL DEFAULT 0 CHECK (faults >= 0),
  worked      boolean NOT NULL DEFAULT false,
  since       timestamptz NOT NULL,
  PRIMARY KEY (plugin, hash),
  CHECK (predecessor <> hash)
);

CREATE TABLE quarantine (
  hash    text PRIMARY KEY,
  plugin  text NOT NULL,
  version text NOT NULL,
  reason  text NOT NULL,
  since   timestamptz NOT NULL
);
