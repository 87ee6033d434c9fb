-- The price is copied: what was quoted stays quoted, even when the product gets dearer next week.
CREATE TABLE work_order_items (
  id               INTEGER PRIMARY KEY,
  work_order_id    INTEGER NOT NULL REFERENCES work_orders (id),
  product_id       INTEGER NOT NULL REFERENCES products (id),
  quantity         INTEGER NOT NULL DEFAULT 1 CHECK (quantity > 0),
  unit_price_cents INTEGER NOT NULL CHECK (unit_price_cents >= 0)
);

CREATE INDEX work_order_items_order ON work_order_items (work_order_id);

CREATE VIEW work_order_totals AS
SELECT w.id AS work_order_id,
       count(i.id) AS items,
       coalesce(sum(i.quantity * i.unit_price_cents), 0) AS total_cents
  FROM work_orders AS w
  LEFT JOIN work_order_items AS i ON i.work_order_id = w.id
 GROUP BY w.id;
