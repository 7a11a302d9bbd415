-- Who may call the API, and what was changed through it.

CREATE TABLE tokens (
  -- The part of a token that is no secret.
  id        TEXT PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  -- Names, separated by spaces.
  scopes    TEXT NOT NULL,
  -- SHA-256 of the secret part.
  hash      BLOB NOT NULL CHECK (length(hash) = 32),
  created   INTEGER NOT NULL,
  expires   INTEGER,
  last_used INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  -- A JSON object.
  details TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE INDEX audit_at ON audit (at);
