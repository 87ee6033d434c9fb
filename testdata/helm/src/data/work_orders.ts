import { audit, auditChange } from "./audit";

/** How far along a work order is; migration 015 knows the same states. */
export const statuses = ["open", "in_progress", "waiting_parts", "ready", "closed"] as const;
export type Status = (typeof statuses)[number];

export interface WorkOrder {
  readonly id: number;
  readonly customer_id: number;
  readonly customer: string;
  readonly bike: string | null;
  readonly summary: string;
  readonly status: Status;
  readonly due_on: string | null;
  readonly total_cents: number;
}

export interface Item {
  readonly id: number;
  readonly name: string;
  readonly quantity: number;
  readonly unit_price_cents: number;
}

const columns = `
  SELECT w.id, w.customer_id, c.name AS customer, b.make || ' ' || b.model AS bike, w.summary, w.status, w.due_on,
         t.total_cents
    FROM work_orders AS w
    JOIN customers AS c ON c.id = w.customer_id
    JOIN work_order_totals AS t ON t.work_order_id = w.id
    LEFT JOIN bikes AS b ON b.id = w.bike_id`;

/** The board: what is due first stands first. Without a status: everything that is not closed. */
export async function listWorkOrders(db: D1Database, status: Status | undefined): Promise<readonly WorkOrder[]> {
  const { results } = await db
    .prepare(
      `${columns}
        WHERE CASE WHEN ?1 IS NULL THEN w.status <> 'closed' ELSE w.status = ?1 END
        ORDER BY w.due_on IS NULL, w.due_on, w.id LIMIT 100`,
    )
    .bind(status ?? null)
    .all<WorkOrder>();
  return results;
}

export async function workOrderById(
  db: D1Database,
  id: number,
): Promise<{ readonly order: WorkOrder; readonly items: readonly Item[] } | undefined> {
  const order = await db.prepare(`${columns} WHERE w.id = ?`).bind(id).first<WorkOrder>();
  if (order === null) return undefined;
  const { results } = await db
    .prepare(
      `SELECT i.id, p.name, i.quantity, i.unit_price_cents
         FROM work_order_items AS i JOIN products AS p ON p.id = i.product_id
        WHERE i.work_order_id = ? ORDER BY i.id`,
    )
    .bind(id)
    .all<Item>();
  return { order, items: results };
}

/** Takes a bike in; undefined when there is no such customer, or the bike is not theirs. */
export async function createWorkOrder(
  db: D1Database,
  order: { readonly customerId: number; readonly bikeId: number | null; readonly summary: string; readonly dueOn: string | null },
): Promise<number | undefined> {
  const row = await db
    .prepare(
      `INSERT INTO work_orders (customer_id, bike_id, summary, due_on)
       SELECT c.id, b.id, ?3, ?4
         FROM customers AS c LEFT JOIN bikes AS b ON b.id = ?2 AND b.customer_id = c.id
        WHERE c.id = ?1 AND (?2 IS NULL OR b.id IS NOT NULL)
       RETURNING id`,
    )
    .bind(order.customerId, order.bikeId, order.summary, order.dueOn)
    .first<{ id: number }>();
  return row?.id;
}

/** Puts a product on a work order at today's price. */
export async function addItem(db: D1Database, orderId: number, productId: number, quantity: number): Promise<boolean> {
  const { meta } = await db
    .prepare(
      `INSERT INTO work_order_items (work_order_id, product_id, quantity, unit_price_cents)
       SELECT w.id, p.id, ?3, p.price_cents
         FROM work_orders AS w, products AS p
        WHERE w.id = ?1 AND w.status <> 'closed' AND p.id = ?2 AND p.active = 1`,
    )
    .bind(orderId, productId, quantity)
    .run();
  return meta.changes > 0;
}

/** Moves a work order along. Closing is not for here: an order closes by being charged. */
export async function setStatus(
  db: D1Database,
  staffId: number,
  id: number,
  status: Exclude<Status, "closed">,
): Promise<void> {
  await db.batch([
    db.prepare("UPDATE work_orders SET status = ?2 WHERE id = ?1 AND status NOT IN ('closed', ?2)").bind(id, status),
    auditChange(db, { staffId, action: "work_order.status", subject: String(id), detail: status }),
  ]);
}

/**
 * Turns a work order into a sale, paid in full, and closes it: all of it or nothing, and once, since sales.work_order_id
 * is unique. Tax is in basis points.
 */
export async function charge(
  db: D1Database,
  staffId: number,
  id: number,
  method: "cash" | "card",
  taxBasisPoints: number,
): Promise<void> {
  await db.batch([
    db
      .prepare(
        `INSERT INTO sales (customer_id, work_order_id, tax_cents)
         SELECT w.customer_id, w.id, (t.total_cents * ?2 + 5000) / 10000
           FROM work_orders AS w JOIN work_order_totals AS t ON t.work_order_id = w.id WHERE w.id = ?1`,
      )
      .bind(id, taxBasisPoints),
    db
      .prepare(
        `INSERT INTO sale_items (sale_id, product_id, quantity, unit_price_cents)
         SELECT s.id, i.product_id, i.quantity, i.unit_price_cents
           FROM work_order_items AS i JOIN sales AS s ON s.work_order_id = i.work_order_id
          WHERE i.work_order_id = ?1`,
      )
      .bind(id),
    db
      .prepare(
        `INSERT INTO payments (sale_id, method, amount_cents)
         SELECT s.id, ?2, t.total_cents + s.tax_cents
           FROM sales AS s JOIN work_order_totals AS t ON t.work_order_id = s.work_order_id
          WHERE s.work_order_id = ?1 AND t.total_cents > 0`,
      )
      .bind(id, method),
    db.prepare("UPDATE work_orders SET status = 'closed' WHERE id = ?1").bind(id),
    audit(db, { staffId, action: "work_order.charge", subject: String(id), detail: method }),
  ]);
}
