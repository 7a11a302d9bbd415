-- Retention, hosts, and what a release needs to run on its successor's schema.

-- Whether retention has taken the content while the row stays.
ALTER TABLE notifications ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0 CHECK (pruned IN (0, 1));

-- The oldest version that a postrider must know to work on this schema.
ALTER TABLE postrider_schema ADD COLUMN oldest INTEGER NOT NULL DEFAULT 1;

CREATE TABLE hosts (
  id           TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  version      TEXT NOT NULL,
  listen       TEXT NOT NULL,
  -- A JSON array of the names in force.
  destinations TEXT NOT NULL DEFAULT '[]',
  started      INTEGER NOT NULL,
  seen         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
