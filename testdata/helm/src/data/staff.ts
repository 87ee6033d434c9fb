import { permissionsOfStaff, type Permission } from "../auth/permissions";
import { auditChange } from "./audit";

export const roles = ["sys_admin", "manager", "mechanic", "cashier"] as const;
export type Role = (typeof roles)[number];

/** What overrules the role for one person; "role" overrules nothing. */
export const decisions = ["role", "allow", "deny"] as const;
export type Decision = (typeof decisions)[number];

export interface Member {
  readonly id: number;
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly active: 0 | 1;
}

export interface Grant {
  readonly staff_id: number;
  readonly permission: string;
  readonly allowed: 0 | 1;
}

export async function listStaff(
  db: D1Database,
): Promise<{ readonly members: readonly Member[]; readonly grants: readonly Grant[] }> {
  const [members, grants] = await Promise.all([
    db.prepare("SELECT id, email, name, role, active FROM staff ORDER BY active DESC, name").all<Member>(),
    db.prepare("SELECT staff_id, permission, allowed FROM staff_screen_permissions").all<Grant>(),
  ]);
  return { members: members.results, grants: grants.results };
}

/** Puts somebody on the allowlist; false when the address is on it already. */
export async function addMember(
  db: D1Database,
  actor: number,
  member: { readonly email: string; readonly name: string; readonly role: Role },
): Promise<boolean> {
  const [inserted] = await db.batch([
    db
      .prepare("INSERT INTO staff (email, name, role) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
      .bind(member.email, member.name, member.role),
    auditChange(db, { staffId: actor, action: "staff.add", subject: member.email, detail: member.role }),
  ]);
  return (inserted?.meta.changes ?? 0) > 0;
}

/** Opens or closes the door for somebody; closing it ends their sessions too. */
export async function setActive(db: D1Database, actor: number, id: number, active: boolean): Promise<void> {
  const statements = [
    db.prepare("UPDATE staff SET active = ?1 WHERE id = ?2 AND active <> ?1").bind(active ? 1 : 0, id),
    auditChange(db, { staffId: actor, action: active ? "staff.activate" : "staff.deactivate", subject: String(id) }),
  ];
  if (!active) statements.push(db.prepare("DELETE FROM sessions WHERE staff_id = ?").bind(id));
  await db.batch(statements);
}

export async function decide(
  db: D1Database,
  actor: number,
  id: number,
  permission: Permission,
  decision: Decision,
): Promise<void> {
  const change =
    decision === "role"
      ? db.prepare("DELETE FROM staff_screen_permissions WHERE staff_id = ? AND permission = ?").bind(id, permission)
      : db
          .prepare(
            `INSERT INTO staff_screen_permissions (staff_id, permission, allowed) VALUES (?, ?, ?)
             ON CONFLICT (staff_id, permission) DO UPDATE SET allowed = excluded.allowed`,
          )
          .bind(id, permission, decision === "allow" ? 1 : 0);
  await db.batch([
    change,
    auditChange(db, { staffId: actor, action: `permission.${decision}`, subject: String(id), detail: permission }),
  ]);
}

/** What somebody may see, as the gate would decide it. */
export async function permissionsOf(db: D1Database, id: number): Promise<ReadonlySet<string>> {
  const { results } = await db.prepare(permissionsOfStaff).bind(id).all<{ name: string }>();
  return new Set(results.map((row) => row.name));
}
