-- A bike outlives its owner's interest in it: selling one on moves customer_id, the history stays with the frame.
CREATE TABLE bikes (
  id            INTEGER PRIMARY KEY,
  customer_id   INTEGER NOT NULL REFERENCES customers (id),
  make          TEXT NOT NULL,
  model         TEXT NOT NULL,
  color         TEXT NOT NULL DEFAULT '',
  serial_number TEXT,
  created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX bikes_customer ON bikes (customer_id);
CREATE UNIQUE INDEX bikes_serial_number ON bikes (serial_number) WHERE serial_number IS NOT NULL;
