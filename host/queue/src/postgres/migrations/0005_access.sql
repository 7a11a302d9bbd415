-- Who may call the API, and what was changed through it.

CREATE TABLE tokens (
  -- The part of a token that is no secret.
  id        text PRIMARY KEY,
  name      text NOT NULL UNIQUE,
  -- Names, separated by spaces.
  scopes    text NOT NULL,
  -- SHA-256 of the secret part.
  hash      bytea NOT NULL CHECK (length(hash) = 32),
  created   timestamptz NOT NULL,
  expires   timestamptz,
  last_used timestamptz
);

CREATE TABLE audit (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL,
  actor   text NOT NULL,
  action  text NOT NULL,
  subject text NOT NULL,
  -- A JSON object.
  details text NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_at ON audit (at);
