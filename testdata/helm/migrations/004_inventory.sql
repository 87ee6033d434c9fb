-- What is on the shelf, and every reason it changed. Levels are never written by hand: a move is, and the trigger follows.
CREATE TABLE inventory_levels (
  product_id    INTEGER PRIMARY KEY REFERENCES products (id),
  on_hand       INTEGER NOT NULL DEFAULT 0,
  reorder_point INTEGER NOT NULL DEFAULT 2 CHECK (reorder_point >= 0)
);

CREATE TABLE inventory_moves (
  id         INTEGER PRIMARY KEY,
  product_id INTEGER NOT NULL REFERENCES products (id),
  kind       TEXT NOT NULL CHECK (kind IN ('receive', 'sell', 'use', 'return', 'count')),
  quantity   INTEGER NOT NULL CHECK (quantity >= 0),
  reason     TEXT NOT NULL DEFAULT '',
  moved_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX inventory_moves_product ON inventory_moves (product_id, moved_at);

CREATE TRIGGER inventory_moves_level AFTER INSERT ON inventory_moves
BEGIN
  INSERT INTO inventory_levels (product_id) VALUES (NEW.product_id) ON CONFLICT (product_id) DO NOTHING;
  UPDATE inventory_levels
     SET on_hand = CASE NEW.kind
           WHEN 'receive' THEN on_hand + NEW.quantity
           WHEN 'return' THEN on_hand + NEW.quantity
           WHEN 'count' THEN NEW.quantity -- a stock-take states the truth, whatever we believed before
           ELSE on_hand - NEW.quantity
         END
   WHERE product_id = NEW.product_id;
END;

INSERT INTO inventory_levels (product_id, reorder_point)
SELECT id, CASE category WHEN 'part' THEN 4 ELSE 1 END FROM products WHERE category <> 'service';
