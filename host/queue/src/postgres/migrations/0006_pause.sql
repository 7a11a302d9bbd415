-- A hold may be a person's: then it lasts until a person ends it.
ALTER TABLE holds ADD COLUMN paused timestamptz;
ALTER TABLE holds ADD COLUMN reason text NOT NULL DEFAULT '';
