import type { Env } from "../env";
import { audit } from "./audit";

/** The settings that the staff may change, in the order the screen shows them. */
export const settingKeys = ["hours", "turnaround_days", "sales_tax_bp", "receipt_footer"] as const;

export type SettingKey = (typeof settingKeys)[number];
export type Settings = Readonly<Partial<Record<SettingKey, string>>>;

const cacheKey = "settings";
const cacheLifetime = 3600; // seconds; only an upper bound, since writing drops the copy

/**
 * The shop's settings. Every screen needs them and they change twice a year, so KV has a copy near the visitor.
 * KV takes up to a minute to forget everywhere; nothing here is worth more than that.
 */
export async function readSettings(env: Env): Promise<Settings> {
  const copy = await env.KV.get<Settings>(cacheKey, "json");
  if (copy !== null) return copy;

  const { results } = await env.DB.prepare("SELECT key, value FROM settings").all<{ key: string; value: string }>();
  const all = new Map(results.map((row) => [row.key, row.value]));
  const settings: Settings = Object.fromEntries(settingKeys.map((key) => [key, all.get(key) ?? ""]));
  await env.KV.put(cacheKey, JSON.stringify(settings), { expirationTtl: cacheLifetime });
  return settings;
}

export async function writeSettings(env: Env, staffId: number, settings: Settings): Promise<void> {
  const write = env.DB.prepare(
    `INSERT INTO settings (key, value) VALUES (?, ?)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
      WHERE value <> excluded.value`,
  );
  await env.DB.batch([
    ...Object.entries(settings).map(([key, value]) => write.bind(key, value)),
    audit(env.DB, { staffId, action: "settings.change", detail: Object.keys(settings).join(", ") }),
  ]);
  await env.KV.delete(cacheKey);
}
