CREATE TABLE sales (
  id            INTEGER PRIMARY KEY,
  customer_id   INTEGER REFERENCES customers (id), -- NULL is a walk-in
  work_order_id INTEGER UNIQUE REFERENCES work_orders (id), -- a work order is charged once
  sold_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  tax_cents     INTEGER NOT NULL DEFAULT 0 CHECK (tax_cents >= 0),
  voided        INTEGER NOT NULL DEFAULT 0 CHECK (voided IN (0, 1))
);

CREATE INDEX sales_day ON sales (date(sold_at)) WHERE voided = 0;

CREATE TABLE sale_items (
  id               INTEGER PRIMARY KEY,
  sale_id          INTEGER NOT NULL REFERENCES sales (id),
  product_id       INTEGER NOT NULL REFERENCES products (id),
  quantity         INTEGER NOT NULL CHECK (quantity > 0),
  unit_price_cents INTEGER NOT NULL CHECK (unit_price_cents >= 0)
);

CREATE INDEX sale_items_sale ON sale_items (sale_id);

-- Selling something takes it off the shelf; services have no shelf.
CREATE TRIGGER sale_items_stock AFTER INSERT ON sale_items
WHEN (SELECT category FROM products WHERE id = NEW.product_id) <> 'service'
BEGIN
  INSERT INTO inventory_moves (product_id, kind, quantity, reason)
  VALUES (NEW.product_id, 'sell', NEW.quantity, 'sale ' || NEW.sale_id);
END;
