-- A work order is a promise: this bike, this complaint, ready by then.
CREATE TABLE work_orders (
  id          INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  bike_id     INTEGER REFERENCES bikes (id),
  summary     TEXT NOT NULL CHECK (length(trim(summary)) > 0),
  status      TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'in_progress', 'ready', 'closed')),
  due_on      TEXT,
  created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  updated_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX work_orders_customer ON work_orders (customer_id);
CREATE INDEX work_orders_board ON work_orders (status, due_on) WHERE status <> 'closed';
