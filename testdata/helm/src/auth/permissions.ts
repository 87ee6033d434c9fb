/** The screens that can be allowed or refused; migration 016 knows the same names. */
export const permissions = [
  "screen.dashboard",
  "screen.work_orders",
  "screen.customers",
  "screen.inventory",
  "screen.settings",
  "screen.permissions",
] as const;

export type Permission = (typeof permissions)[number];

/**
 * What one member of staff may see: a row of theirs in staff_screen_permissions decides, else their role does.
 * Binds the staff id.
 */
export const permissionsOfStaff = `
  SELECT p.name
    FROM permissions AS p
    JOIN staff AS s ON s.id = ?1
    LEFT JOIN staff_screen_permissions AS own ON own.staff_id = s.id AND own.permission = p.name
    LEFT JOIN role_permissions AS role ON role.role = s.role AND role.permission = p.name
   WHERE coalesce(own.allowed, role.role IS NOT NULL)`;

export function isPermission(name: string): name is Permission {
  return permissions.some((known) => known === name);
}
