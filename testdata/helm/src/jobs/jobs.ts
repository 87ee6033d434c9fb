import type { Env } from "../env";
import { timestamp } from "../time";
import { dailyClose } from "./daily_close";
import { lowStockReport } from "./low_stock_report";
import { purge } from "./purge";

/** Does its work and says in one line what came of it. */
export type Job = (env: Env, scheduled: Date) => Promise<string>;

/** By the very strings of triggers.crons in wrangler.jsonc: the runtime hands back what was configured. */
const jobs: Readonly<Record<string, { readonly name: string; readonly run: Job }>> = {
  "0 13 * * *": { name: "daily-close", run: dailyClose },
  "0 14 * * mon": { name: "low-stock-report", run: lowStockReport },
  "0 15 1 * *": { name: "purge", run: purge },
};

/** Runs the job of a cron, once for each scheduled time even when the trigger comes twice, and keeps a record. */
export async function runJob(cron: string, scheduled: Date, env: Env): Promise<void> {
  const job = jobs[cron];
  if (job === undefined) throw new Error(`no job for the cron "${cron}"`);

  const scheduledAt = timestamp(scheduled);
  const run = await env.DB.prepare(
    `INSERT INTO cron_runs (job, cron, scheduled_at) VALUES (?, ?, ?)
     ON CONFLICT (job, scheduled_at) DO UPDATE SET outcome = 'running' WHERE outcome = 'failed'
     RETURNING id`,
  )
    .bind(job.name, cron, scheduledAt)
    .first<{ id: number }>();
  if (run === null) return; // this trigger ran, or is running

  const finish = env.DB.prepare(
    "UPDATE cron_runs SET outcome = ?, summary = ?, finished_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ?",
  );
  try {
    const summary = await job.run(env, scheduled);
    await finish.bind("ok", summary, run.id).run();
  } catch (error) {
    await finish.bind("failed", error instanceof Error ? error.message : String(error), run.id).run();
    throw error; // so that the platform counts it as failed too
  }
}
