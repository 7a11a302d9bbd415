-- A hold may be a person's: then it lasts until a person ends it.
ALTER TABLE holds ADD COLUMN paused INTEGER;
ALTER TABLE holds ADD COLUMN reason TEXT NOT NULL DEFAULT '';
