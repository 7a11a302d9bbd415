-- An order and its notification, stored together or not at all. Runs as it is on SQLite and on PostgreSQL, any number
-- of times: the keys make the second run do nothing.
BEGIN;

CREATE TABLE IF NOT EXISTS orders (
  number integer PRIMARY KEY,
  total  integer NOT NULL  -- cents
);

INSERT INTO orders (number, total) VALUES (17, 4200) ON CONFLICT DO NOTHING;

INSERT INTO notifications (type, source, subject, labels, content, idempotency_key)
VALUES ('order.paid', 'shop', 'order 17', '{"env": "production"}', '{"order": 17, "total": 4200}', 'order-17-paid')
ON CONFLICT DO NOTHING;

COMMIT;
