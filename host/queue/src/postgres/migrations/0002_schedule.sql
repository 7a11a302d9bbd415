-- When, until when, and in which order. Every column has a default that means what version 1 does, so that hosts of
-- version 1 go on beside newer ones.

-- For producers: milliseconds from created_at. No delivery starts before the one, none from the other on.
ALTER TABLE notifications ADD COLUMN deliver_after_ms bigint
  CHECK (deliver_after_ms BETWEEN 0 AND 31622400000);
ALTER TABLE notifications ADD COLUMN expires_after_ms bigint
  CHECK (expires_after_ms BETWEEN 1 AND 31622400000 AND expires_after_ms > coalesce(deliver_after_ms, 0));
-- Postrider's own: set at the fan-out.
ALTER TABLE notifications ADD COLUMN expires timestamptz;

ALTER TABLE deliveries ADD COLUMN expires timestamptz;
ALTER TABLE deliveries ADD COLUMN order_key text;
-- Not its key's head: due at 'infinity' until it is.
ALTER TABLE deliveries ADD COLUMN waiting boolean NOT NULL DEFAULT false;

-- None of these holds a delivery without expiry and key.
CREATE INDEX deliveries_expiring ON deliveries (expires, id) WHERE state = 0 AND expires IS NOT NULL;
CREATE UNIQUE INDEX deliveries_head ON deliveries (destination, order_key)
  WHERE state = 0 AND NOT waiting AND order_key IS NOT NULL;
CREATE INDEX deliveries_next ON deliveries (destination, order_key, id) WHERE state = 0 AND waiting;
CREATE INDEX deliveries_waiting ON deliveries (destination, since, id) WHERE state = 0 AND waiting;
