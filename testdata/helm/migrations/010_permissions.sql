-- What may be allowed, and what a role allows. Filled by 016.
CREATE TABLE permissions (
  name  TEXT PRIMARY KEY CHECK (name GLOB '[a-z]*.[a-z]*'),
  label TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE role_permissions (
  role       TEXT NOT NULL REFERENCES roles (name),
  permission TEXT NOT NULL REFERENCES permissions (name),
  PRIMARY KEY (role, permission)
) WITHOUT ROWID;
