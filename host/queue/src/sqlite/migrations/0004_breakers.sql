-- Destinations that are left alone. A success of a healthy destination never writes here.

-- Since when, without a break; none means since it was seen first.
ALTER TABLE holds ADD COLUMN since INTEGER;

-- Those that are not closed. Each has a hold beside it that lasts until the year 9999, which keeps claims away.
CREATE TABLE breakers (
  destination TEXT PRIMARY KEY,
  state       INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4)),  -- open, probing, ramping, gone
  reason      TEXT NOT NULL,
  since       INTEGER NOT NULL,
  -- When the next trial may begin.
  next        INTEGER NOT NULL,
  -- Number of the newest trial; one more ends it.
  trial       INTEGER NOT NULL DEFAULT 0,
  batch       INTEGER NOT NULL DEFAULT 1 CHECK (batch >= 1),
  failures    INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0)
) STRICT, WITHOUT ROWID;
