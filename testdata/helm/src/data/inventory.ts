import { auditChange } from "./audit";

/** Why stock changes by hand. Selling is not among them: sales move stock themselves. */
export const moveKinds = ["receive", "use", "return", "count"] as const;
export type MoveKind = (typeof moveKinds)[number];

export interface Product {
  readonly id: number;
  readonly sku: string;
  readonly name: string;
  readonly category: string;
  readonly price_cents: number;
  /** null for services, which have no shelf. */
  readonly on_hand: number | null;
  readonly reorder_point: number | null;
}

export async function listProducts(db: D1Database): Promise<readonly Product[]> {
  const { results } = await db
    .prepare(
      `SELECT p.id, p.sku, p.name, p.category, p.price_cents, l.on_hand, l.reorder_point
         FROM products AS p LEFT JOIN inventory_levels AS l ON l.product_id = p.id
        WHERE p.active = 1 ORDER BY p.category, p.name`,
    )
    .all<Product>();
  return results;
}

/** What has to be ordered: on the shelf at or below its reorder point. */
export async function lowStock(db: D1Database): Promise<readonly Product[]> {
  const { results } = await db
    .prepare(
      `SELECT p.id, p.sku, p.name, p.category, p.price_cents, l.on_hand, l.reorder_point
         FROM inventory_levels AS l JOIN products AS p ON p.id = l.product_id
        WHERE p.active = 1 AND l.on_hand <= l.reorder_point ORDER BY p.sku`,
    )
    .all<Product>();
  return results;
}

/** Notes a move; the shelf follows by trigger. False when the product has no shelf. */
export async function moveStock(
  db: D1Database,
  staffId: number,
  move: { readonly productId: number; readonly kind: MoveKind; readonly quantity: number; readonly reason: string },
): Promise<boolean> {
  const [inserted] = await db.batch([
    db
      .prepare(
        `INSERT INTO inventory_moves (product_id, kind, quantity, reason)
         SELECT id, ?2, ?3, ?4 FROM products WHERE id = ?1 AND category <> 'service'`,
      )
      .bind(move.productId, move.kind, move.quantity, move.reason),
    auditChange(db, {
      staffId,
      action: `inventory.${move.kind}`,
      subject: String(move.productId),
      detail: String(move.quantity),
    }),
  ]);
  return (inserted?.meta.changes ?? 0) > 0;
}
