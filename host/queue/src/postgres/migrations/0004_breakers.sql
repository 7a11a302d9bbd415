-- Destinations that are left alone, for all hosts. A success of a healthy destination never writes here.

-- Since when, without a break.
ALTER TABLE holds ADD COLUMN since timestamptz NOT NULL DEFAULT now();

-- Those that are not closed. Each has a hold beside it that lasts until the year 9999, which keeps claims away.
CREATE TABLE breakers (
  destination text PRIMARY KEY,
  state       smallint NOT NULL CHECK (state IN (1, 2, 3, 4)),  -- open, probing, ramping, gone
  reason      text NOT NULL,
  since       timestamptz NOT NULL,
  -- When the next trial may begin.
  next        timestamptz NOT NULL,
  -- Number of the newest trial; one more ends it.
  trial       bigint NOT NULL DEFAULT 0,
  batch       integer NOT NULL DEFAULT 1 CHECK (batch >= 1),
  failures    integer NOT NULL DEFAULT 0 CHECK (failures >= 0)
);
