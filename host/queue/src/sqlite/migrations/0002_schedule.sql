-- When, until when, and in which order. Every column has a default that means what version 1 does.

-- For producers: milliseconds from created_at. No delivery starts before the one, none from the other on.
ALTER TABLE notifications ADD COLUMN deliver_after_ms INTEGER
  CHECK (deliver_after_ms BETWEEN 0 AND 31622400000);
ALTER TABLE notifications ADD COLUMN expires_after_ms INTEGER
  CHECK (expires_after_ms BETWEEN 1 AND 31622400000 AND expires_after_ms > coalesce(deliver_after_ms, 0));
-- Postrider's own: set at the fan-out.
ALTER TABLE notifications ADD COLUMN expires INTEGER;

ALTER TABLE deliveries ADD COLUMN expires INTEGER;
ALTER TABLE deliveries ADD COLUMN order_key TEXT;
-- Not its key's head: never due until it is.
ALTER TABLE deliveries ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting IN (0, 1));

-- None of these holds a delivery without expiry and key.
CREATE INDEX deliveries_expiring ON deliveries (expires, id) WHERE state = 0 AND expires IS NOT NULL;
CREATE UNIQUE INDEX deliveries_head ON deliveries (destination, order_key)
  WHERE state = 0 AND waiting = 0 AND order_key IS NOT NULL;
CREATE INDEX deliveries_next ON deliveries (destination, order_key, id) WHERE state = 0 AND waiting = 1;
CREATE INDEX deliveries_waiting ON deliveries (destination, since, id) WHERE state = 0 AND waiting = 1;
