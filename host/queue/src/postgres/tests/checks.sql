-- What holds of every row that postrider writes.
ALTER TABLE deliveries ADD CONSTRAINT deliveries_hold CHECK (
  state IN (0, 1, 2, 3) AND lane IN (0, 1)
  AND token >= 0 AND attempt >= 0 AND used >= 0 AND lost >= 0 AND parts_done >= 0
  AND (state = 0) = (finished IS NULL)
  AND (state = 2) = (cause IS NOT NULL)
  AND (owner IS NULL) = (claimed IS NULL)
  AND (state = 0 OR owner IS NULL)
  AND (owner IS NULL OR (token > 0 AND attempt > 0))
  AND (fallback_to <> id)
  AND (fallback_of <> id));
ALTER TABLE attempts ADD CONSTRAINT attempts_hold CHECK (number >= 1 AND duration >= 0);
