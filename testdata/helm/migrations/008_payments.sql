CREATE TABLE payments (
  id           INTEGER PRIMARY KEY,
  sale_id      INTEGER NOT NULL REFERENCES sales (id),
  method       TEXT NOT NULL CHECK (method IN ('cash', 'card', 'gift')),
  amount_cents INTEGER NOT NULL CHECK (amount_cents <> 0), -- negative is a refund
  stripe_id    TEXT UNIQUE,
  paid_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  CHECK (stripe_id IS NULL OR method = 'card')
);

CREATE INDEX payments_sale ON payments (sale_id);
