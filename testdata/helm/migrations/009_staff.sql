-- The allowlist. Whoever is not an active row here does not get past the door, whatever the identity provider says.
CREATE TABLE roles (
  name  TEXT PRIMARY KEY,
  label TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO roles (name, label) VALUES
  ('sys_admin', 'System admin'),
  ('manager', 'Manager'),
  ('mechanic', 'Mechanic'),
  ('cashier', 'Cashier');

CREATE TABLE staff (
  id         INTEGER PRIMARY KEY,
  email      TEXT NOT NULL UNIQUE COLLATE NOCASE,
  name       TEXT NOT NULL,
  role       TEXT NOT NULL REFERENCES roles (name),
  active     INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);
