import { money } from "../money";
import type { Job } from "./jobs";

interface Close {
  readonly sales: number;
  readonly gross_cents: number;
}

/** Adds up the day before. Closing a day again replaces its totals, so a late correction only needs a rerun. */
export const dailyClose: Job = async (env, scheduled) => {
  const day = new Date(scheduled.getTime() - 24 * 3600 * 1000).toISOString().slice(0, 10);
  const close = await env.DB.prepare(
    `INSERT INTO daily_closes (day, sales, gross_cents, tax_cents)
     SELECT ?1, count(*), coalesce(sum(s.net_cents), 0), coalesce(sum(s.tax_cents), 0)
       FROM (SELECT sales.tax_cents, coalesce(sum(i.quantity * i.unit_price_cents), 0) AS net_cents
               FROM sales LEFT JOIN sale_items AS i ON i.sale_id = sales.id
              WHERE date(sales.sold_at) = ?1 AND sales.voided = 0
              GROUP BY sales.id) AS s
      WHERE true
     ON CONFLICT (day) DO UPDATE SET
       sales = excluded.sales, gross_cents = excluded.gross_cents, tax_cents = excluded.tax_cents,
       closed_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
     RETURNING sales, gross_cents`,
  )
    .bind(day)
    .first<Close>();
  return `${day}: ${close?.sales ?? 0} sales, ${money(close?.gross_cents ?? 0)}`;
};
