-- The queue. Producers insert into `notifications` in their own transaction. Only what PostgreSQL-compatible
-- engines have too: no trigger, no advisory lock, no INCLUDE, no partition.

CREATE TABLE notifications (
  seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- A UUIDv7 of the moment of insertion.
  id              uuid NOT NULL UNIQUE DEFAULT (
                    substr(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0'), 1, 8) || '-' ||
                    substr(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0'), 9, 4) || '-7' ||
                    substr(gen_random_uuid()::text, 16))::uuid,
  type            text NOT NULL,
  source          text NOT NULL DEFAULT '',
  subject         text,
  -- A JSON object of strings.
  labels          text NOT NULL DEFAULT '{}',
  content_type    text NOT NULL DEFAULT 'application/json',
  -- One of the two: text, or bytes that are no text.
  content         text,
  content_bytes   bytea,
  idempotency_key text,
  -- SHA-256 of what the producer worded; only postrider's own rows with a key have it.
  digest          bytea,
  created_at      timestamptz NOT NULL DEFAULT now(),
  -- Below: postrider's own columns.
  fanned_out_at   timestamptz,
  deliveries      integer,
  malformed       text,
  CHECK (content IS NULL OR content_bytes IS NULL),
  CHECK (fanned_out_at IS NOT NULL OR (deliveries IS NULL AND malformed IS NULL)),
  CHECK (fanned_out_at IS NULL OR (deliveries IS NULL) = (malformed IS NOT NULL))
);
CREATE INDEX notifications_arrived ON notifications (seq) WHERE fanned_out_at IS NULL;
CREATE UNIQUE INDEX notifications_key ON notifications (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- No foreign key: it costs a third of the rate, and ten times as much when its check was planned on an empty table.
CREATE TABLE deliveries (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  notification bigint NOT NULL,
  destination  text NOT NULL,
  state        smallint NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2, 3)),  -- live, delivered, dead, cancelled
  lane         smallint NOT NULL DEFAULT 0 CHECK (lane IN (0, 1)),         -- first attempt, retry
  due          timestamptz NOT NULL,                                       -- while leased: the lease's expiry
  token        bigint NOT NULL DEFAULT 0 CHECK (token >= 0),
  owner        uuid,
  claimed      timestamptz,
  attempt      integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  used         integer NOT NULL DEFAULT 0 CHECK (used >= 0),
  lost         integer NOT NULL DEFAULT 0 CHECK (lost >= 0),
  parts_done   bigint NOT NULL DEFAULT 0 CHECK (parts_done >= 0),
  chain        text NOT NULL DEFAULT '[]',
  reason       text NOT NULL DEFAULT '',
  cause        text,
  created      timestamptz NOT NULL,
  since        timestamptz NOT NULL,
  finished     timestamptz,
  fallback_of  bigint,
  fallback_to  bigint,
  UNIQUE (notification, destination),
  CHECK ((state = 0) = (finished IS NULL)),
  CHECK ((state = 2) = (cause IS NOT NULL)),
  CHECK ((owner IS NULL) = (claimed IS NULL)),
  CHECK (state = 0 OR owner IS NULL),
  CHECK (owner IS NULL OR (token > 0 AND attempt > 0)),
  CHECK (fallback_to <> id),
  CHECK (fallback_of <> id)
);
CREATE INDEX deliveries_live ON deliveries (destination, lane, due, id) WHERE state = 0;
CREATE INDEX deliveries_ended ON deliveries (state, id) WHERE state >= 2;

CREATE TABLE attempts (
  delivery bigint NOT NULL,
  number   integer NOT NULL CHECK (number >= 1),
  started  timestamptz NOT NULL,
  duration bigint NOT NULL CHECK (duration >= 0),  -- microseconds
  outcome  text NOT NULL,
  reason   text NOT NULL,
  plugin   text NOT NULL,
  host     uuid NOT NULL,
  PRIMARY KEY (delivery, number)
);

-- The last good text of every destination file.
CREATE TABLE destinations (
  name       text PRIMARY KEY,
  text       text NOT NULL,
  module     text NOT NULL,
  removed_at timestamptz
);

-- Destinations that asked not to be sent to for a while. A success never writes here.
CREATE TABLE holds (
  destination text PRIMARY KEY,
  until       timestamptz NOT NULL
);

-- Plugins' own notes. A version is never used twice, so a note that was removed and set again is never taken for
-- the old one.
CREATE SEQUENCE state_version;
CREATE TABLE state (
  destination text NOT NULL,
  key         text NOT NULL,
  value       bytea NOT NULL,
  version     bigint NOT NULL,
  expires     timestamptz,
  PRIMARY KEY (destination, key)
);
