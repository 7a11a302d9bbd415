-- The queue. Producers insert into `notifications` with their own SQLite: nothing here needs one newer than 3.38.
-- Times are milliseconds since 1970 (UTC).

CREATE TABLE notifications (
  -- A producer that gave the greatest number would leave none for anybody.
  seq             INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq BETWEEN 1 AND 1000000000000000),
  -- A UUIDv7 of the moment of insertion.
  id              TEXT NOT NULL UNIQUE DEFAULT (lower(
                    printf('%08x', CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER) >> 16) || '-' ||
                    printf('%04x', CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER) & 65535) || '-7' ||
                    substr(hex(randomblob(2)), 2) || '-' ||
                    substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' ||
                    hex(randomblob(6))))
                  CHECK (id GLOB '????????-????-????-????-????????????' AND id NOT GLOB '*[^0-9a-f-]*'),
  type            TEXT NOT NULL,
  source          TEXT NOT NULL DEFAULT '',
  subject         TEXT,
  -- A JSON object of strings.
  labels          TEXT NOT NULL DEFAULT '{}',
  content_type    TEXT NOT NULL DEFAULT 'application/json',
  -- One of the two: text, or bytes that are no text.
  content         TEXT,
  content_bytes   BLOB,
  idempotency_key TEXT,
  -- SHA-256 of what the producer worded; only postrider's own rows with a key have it.
  digest          BLOB,
  created_at      INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)),
  -- Below: postrider's own columns.
  fanned_out_at   INTEGER,
  deliveries      INTEGER,
  malformed       TEXT,
  CHECK (content IS NULL OR content_bytes IS NULL),
  CHECK (fanned_out_at IS NOT NULL OR (deliveries IS NULL AND malformed IS NULL)),
  CHECK (fanned_out_at IS NULL OR (deliveries IS NULL) = (malformed IS NOT NULL))
) STRICT;
CREATE INDEX notifications_arrived ON notifications (seq) WHERE fanned_out_at IS NULL;
CREATE UNIQUE INDEX notifications_key ON notifications (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- AUTOINCREMENT: a number is never used twice, so a stale lease can never name another delivery. No foreign key: it
-- costs a third of the rate.
CREATE TABLE deliveries (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  notification INTEGER NOT NULL,
  destination  TEXT NOT NULL,
  state        INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2, 3)),  -- live, delivered, dead, cancelled
  lane         INTEGER NOT NULL DEFAULT 0 CHECK (lane IN (0, 1)),         -- first attempt, retry
  due          INTEGER NOT NULL,                                          -- while leased: the lease's expiry
  token        INTEGER NOT NULL DEFAULT 0 CHECK (token >= 0),
  owner        TEXT,
  claimed      INTEGER,
  attempt      INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  used         INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
  lost         INTEGER NOT NULL DEFAULT 0 CHECK (lost >= 0),
  parts_done   INTEGER NOT NULL DEFAULT 0 CHECK (parts_done >= 0),
  chain        TEXT NOT NULL DEFAULT '[]',
  reason       TEXT NOT NULL DEFAULT '',
  cause        TEXT,
  created      INTEGER NOT NULL,
  since        INTEGER NOT NULL,
  finished     INTEGER,
  fallback_of  INTEGER,
  fallback_to  INTEGER,
  UNIQUE (notification, destination),
  CHECK ((state = 0) = (finished IS NULL)),
  CHECK ((state = 2) = (cause IS NOT NULL)),
  CHECK ((owner IS NULL) = (claimed IS NULL)),
  CHECK (state = 0 OR owner IS NULL),
  CHECK (owner IS NULL OR (token > 0 AND attempt > 0)),
  CHECK (fallback_to <> id),
  CHECK (fallback_of <> id)
) STRICT;
CREATE INDEX deliveries_live ON deliveries (destination, lane, due, id) WHERE state = 0;
CREATE INDEX deliveries_ended ON deliveries (state, id) WHERE state >= 2;

CREATE TABLE attempts (
  delivery INTEGER NOT NULL,
  number   INTEGER NOT NULL CHECK (number >= 1),
  started  INTEGER NOT NULL,
  duration INTEGER NOT NULL CHECK (duration >= 0),  -- microseconds
  outcome  TEXT NOT NULL,
  reason   TEXT NOT NULL,
  plugin   TEXT NOT NULL,
  host     TEXT NOT NULL,
  PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- The last good text of every destination file.
CREATE TABLE destinations (
  name       TEXT PRIMARY KEY,
  text       TEXT NOT NULL,
  module     TEXT NOT NULL,
  removed_at INTEGER
) STRICT, WITHOUT ROWID;

-- Destinations that asked not to be sent to for a while. A success never writes here.
CREATE TABLE holds (
  destination TEXT PRIMARY KEY,
  until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Plugins' own notes. AUTOINCREMENT: a version is never used twice, so a note that was removed and set again is
-- never taken for the old one.
CREATE TABLE state (
  version     INTEGER PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  key         TEXT NOT NULL,
  value       BLOB NOT NULL,
  expires     INTEGER,
  UNIQUE (destination, key)
) STRICT;
