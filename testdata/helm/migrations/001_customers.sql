-- The people who bring bikes. One database is one shop, so a customer belongs to the shop by living here.
CREATE TABLE customers (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL CHECK (length(trim(name)) > 0),
  email      TEXT COLLATE NOCASE,
  phone      TEXT,
  notes      TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- Two customers may share a family phone, but an e-mail address identifies one of them.
CREATE UNIQUE INDEX customers_email ON customers (email) WHERE email IS NOT NULL;
CREATE INDEX customers_name ON customers (name COLLATE NOCASE);
