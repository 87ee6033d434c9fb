import { readSettings, settingKeys, writeSettings, type SettingKey } from "../data/settings";
import type { Env } from "../env";
import { FieldError, text } from "../http/form";
import { html } from "../http/html";
import { page, seeOther, tokenField } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { complain } from "./complain";

const permission = "screen.settings";
const labels: Readonly<Record<SettingKey, string>> = {
  hours: "Opening hours",
  turnaround_days: "Usual turnaround, in days",
  sales_tax_bp: "Sales tax, in basis points (875 is 8.75 %)",
  receipt_footer: "Last line of the receipt",
};
const numeric: readonly SettingKey[] = ["turnaround_days", "sales_tax_bp"];

interface Run {
  readonly job: string;
  readonly scheduled_at: string;
  readonly outcome: string;
  readonly summary: string;
}

export const settingsScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/settings", permission, show },
  { method: "POST", path: "/settings", permission, act: complain(save) },
];

async function show(visit: Admitted): Promise<Response> {
  const { env } = visit;
  const [settings, runs] = await Promise.all([
    readSettings(env),
    env.DB.prepare("SELECT job, scheduled_at, outcome, summary FROM cron_runs ORDER BY id DESC LIMIT 12").all<Run>(),
  ]);
  return page(visit, {
    title: "Settings",
    body: html`<form class="fields" method="post" action="/settings">
        ${tokenField(visit)}
        ${settingKeys.map((key) => html`<label>${labels[key]} <input name="${key}" value="${settings[key]}"></label>`)}
        <button>Save</button>
      </form>
      <h2>Connections</h2>
      <table>
        <tr><th>Card payments (Stripe)</th><td>${stripeMode(env)}</td></tr>
        <tr><th>Text messages (Twilio)</th><td>${env.TWILIO_ACCOUNT_SID ? "configured" : "not configured"}</td></tr>
        <tr><th>Sign-in</th><td>${env.OAUTH_ISSUER}</td></tr>
      </table>
      <h2>What ran by itself</h2>
      <table>
        <tr><th>Job</th><th>Scheduled</th><th>Outcome</th><th>Result</th></tr>
        ${runs.results.map(
          (run) => html`<tr>
            <td>${run.job}</td><td>${run.scheduled_at}</td><td>${run.outcome}</td><td>${run.summary}</td>
          </tr>`,
        )}
      </table>`,
  });
}

async function save(visit: Admitted, form: FormData): Promise<Response> {
  const settings = Object.fromEntries(settingKeys.map((key) => [key, text(form, key, "optional")]));
  for (const key of numeric) {
    if (!/^\d{1,4}$/.test(settings[key] ?? "")) throw new FieldError(`${labels[key]}: a whole number, please.`);
  }
  await writeSettings(visit.env, visit.staff.id, settings);
  return seeOther("/settings");
}

/** Which of Stripe's worlds the key belongs to; the key itself is never shown. */
function stripeMode({ STRIPE_SECRET_KEY: key }: Env): string {
  if (!key) return "not configured";
  if (key.startsWith("sk_live_")) return "live";
  if (key.startsWith("sk_test_")) return "test mode";
  return "the key is not a Stripe secret key";
}
