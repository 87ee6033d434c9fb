-- A status of its own for bikes that wait for a delivery. SQLite cannot change a CHECK in place, so the table is rebuilt.
--
-- Items and sales point at work_orders. The rows go back in under the final name while the checks are deferred, which
-- is what settles the references again: renaming a filled copy would leave them counted as violations at commit.
PRAGMA defer_foreign_keys = on;

DROP VIEW work_order_totals;

CREATE TABLE work_orders_copy AS SELECT * FROM work_orders;

DROP TABLE work_orders;

CREATE TABLE work_orders (
  id          INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  bike_id     INTEGER REFERENCES bikes (id),
  summary     TEXT NOT NULL CHECK (length(trim(summary)) > 0),
  status      TEXT NOT NULL DEFAULT 'open'
              CHECK (status IN ('open', 'in_progress', 'waiting_parts', 'ready', 'closed')),
  due_on      TEXT,
  created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  updated_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

INSERT INTO work_orders (id, customer_id, bike_id, summary, status, due_on, created_at, updated_at)
SELECT id, customer_id, bike_id, summary, status, due_on, created_at, updated_at FROM work_orders_copy;

DROP TABLE work_orders_copy;

CREATE INDEX work_orders_customer ON work_orders (customer_id);
CREATE INDEX work_orders_board ON work_orders (status, due_on) WHERE status <> 'closed';

CREATE TRIGGER work_orders_touch AFTER UPDATE OF summary, status, due_on, bike_id ON work_orders
BEGIN
  UPDATE work_orders SET updated_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = NEW.id;
END;

CREATE VIEW work_order_totals AS
SELECT w.id AS work_order_id,
       count(i.id) AS items,
       coalesce(sum(i.quantity * i.unit_price_cents), 0) AS total_cents
  FROM work_orders AS w
  LEFT JOIN work_order_items AS i ON i.work_order_id = w.id
 GROUP BY w.id;
