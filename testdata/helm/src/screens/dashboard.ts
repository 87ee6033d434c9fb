import { lowStock } from "../data/inventory";
import { readSettings } from "../data/settings";
import { html } from "../http/html";
import { page } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { money } from "../money";
import { theme } from "../theme";

interface Figures {
  readonly open: number;
  readonly ready: number;
  readonly overdue: number;
  readonly sold_cents: number;
}

export const dashboardScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/", permission: "screen.dashboard", show: dashboard },
];

async function dashboard(visit: Admitted): Promise<Response> {
  const { env, now } = visit;
  const today = now.toISOString().slice(0, 10);
  const [figures, low, settings] = await Promise.all([
    env.DB.prepare(
      `SELECT count(*) FILTER (WHERE status IN ('open', 'in_progress', 'waiting_parts')) AS open,
              count(*) FILTER (WHERE status = 'ready') AS ready,
              count(*) FILTER (WHERE status NOT IN ('ready', 'closed') AND due_on < ?1) AS overdue,
              (SELECT coalesce(sum(i.quantity * i.unit_price_cents), 0)
                 FROM sales AS s JOIN sale_items AS i ON i.sale_id = s.id
                WHERE date(s.sold_at) = ?1 AND s.voided = 0) AS sold_cents
         FROM work_orders`,
    )
      .bind(today)
      .first<Figures>(),
    lowStock(env.DB),
    readSettings(env),
  ]);
  return page(visit, {
    title: "Dashboard",
    body: html`<p>${theme.greeting} ${settings.hours && html`Open ${settings.hours}.`}</p>
      <div class="figures">
        <div><strong>${figures?.open ?? 0}</strong> bikes in the shop</div>
        <div><strong>${figures?.ready ?? 0}</strong> ready to collect</div>
        <div><strong>${figures?.overdue ?? 0}</strong> overdue</div>
        <div><strong>${money(figures?.sold_cents ?? 0)}</strong> sold today</div>
        <div><strong>${low.length}</strong> products to order</div>
      </div>`,
  });
}
