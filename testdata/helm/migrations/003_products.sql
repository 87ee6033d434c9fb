-- Money is whole cents everywhere; a price with a fraction of a cent is a bug, not a rounding question.
CREATE TABLE products (
  id          INTEGER PRIMARY KEY,
  sku         TEXT NOT NULL UNIQUE,
  name        TEXT NOT NULL,
  category    TEXT NOT NULL CHECK (category IN ('bike', 'part', 'accessory', 'apparel', 'service')),
  price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
  cost_cents  INTEGER NOT NULL DEFAULT 0 CHECK (cost_cents >= 0),
  active      INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1))
);

CREATE INDEX products_category ON products (category, name) WHERE active = 1;

INSERT INTO products (sku, name, category, price_cents, cost_cents) VALUES
  ('SVC-TUNE-BASIC', 'Basic tune-up', 'service', 8500, 0),
  ('SVC-TUNE-FULL', 'Full overhaul', 'service', 24500, 0),
  ('SVC-FLAT', 'Flat repair; tube not included', 'service', 1500, 0),
  ('TUBE-700-28', 'Inner tube 700x25-32c', 'part', 899, 310),
  ('CHAIN-11', 'Chain, 11 speed', 'part', 4200, 2250),
  ('PAD-DISC-R', 'Disc brake pads, resin', 'part', 2400, 1080);
