-- Retention, hosts, and a hot table that is swept often enough.

-- Whether retention has taken the content while the row stays.
ALTER TABLE notifications ADD COLUMN pruned boolean NOT NULL DEFAULT false;

CREATE TABLE hosts (
  id           uuid PRIMARY KEY,
  name         text NOT NULL,
  version      text NOT NULL,
  listen       text NOT NULL,
  -- The names in force.
  destinations text[] NOT NULL DEFAULT '{}',
  started      timestamptz NOT NULL,
  seen         timestamptz NOT NULL
);

-- Two dead rows a delivery cannot be helped: by default they would pile up to a fifth of the table.
ALTER TABLE deliveries SET (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_cost_delay = 0
);
