-- Which screens somebody sees. A role decides; staff_screen_permissions overrules it for one person, in either direction.
-- Before this migration a script filled these tables from the old point of sale; a fresh database needs no script now.
CREATE TABLE staff_screen_permissions (
  staff_id   INTEGER NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
  permission TEXT NOT NULL REFERENCES permissions (name),
  allowed    INTEGER NOT NULL CHECK (allowed IN (0, 1)),
  PRIMARY KEY (staff_id, permission)
) WITHOUT ROWID;

INSERT INTO permissions (name, label) VALUES
  ('screen.dashboard', 'Dashboard'),
  ('screen.work_orders', 'Work orders'),
  ('screen.customers', 'Customers'),
  ('screen.inventory', 'Products and inventory'),
  ('screen.settings', 'Settings'),
  ('screen.permissions', 'Permissions')
ON CONFLICT (name) DO NOTHING;

-- A system admin sees everything, also what later migrations add: those insert their own row for the role.
INSERT INTO role_permissions (role, permission)
SELECT 'sys_admin', name FROM permissions WHERE name GLOB 'screen.*'
ON CONFLICT DO NOTHING;

INSERT INTO role_permissions (role, permission) VALUES
  ('manager', 'screen.dashboard'),
  ('manager', 'screen.work_orders'),
  ('manager', 'screen.customers'),
  ('manager', 'screen.inventory'),
  ('mechanic', 'screen.dashboard'),
  ('mechanic', 'screen.work_orders'),
  ('mechanic', 'screen.inventory'),
  ('cashier', 'screen.dashboard'),
  ('cashier', 'screen.work_orders'),
  ('cashier', 'screen.customers')
ON CONFLICT DO NOTHING;
