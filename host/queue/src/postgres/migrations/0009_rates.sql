-- What is left of a destination's rate, for all hosts together.
CREATE TABLE rates (
    destination text PRIMARY KEY,
    tokens double precision NOT NULL,
    filled timestamptz NOT NULL
) WITH (fillfactor = 50);
