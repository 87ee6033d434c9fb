import { timestamp } from "../time";
import type { Job } from "./jobs";

/** How long the audit log is kept, in days: two seasons and a month. */
const auditDays = 400;

/** Forgets what nobody may need any more: sessions that have expired, and old audit rows. */
export const purge: Job = async (env, scheduled) => {
  const oldest = new Date(scheduled.getTime() - auditDays * 24 * 3600 * 1000);
  const [sessions, rows] = await env.DB.batch([
    env.DB.prepare("DELETE FROM sessions WHERE expires_at <= ?").bind(timestamp(scheduled)),
    env.DB.prepare("DELETE FROM audit_log WHERE at < ?").bind(timestamp(oldest)),
  ]);
  return `${sessions?.meta.changes ?? 0} sessions, ${rows?.meta.changes ?? 0} audit rows`;
};
