import { lowStock } from "../data/inventory";
import type { Job } from "./jobs";

/** Writes what has to be ordered as a CSV file into the bucket, one file a week, for whoever does the ordering. */
export const lowStockReport: Job = async (env, scheduled) => {
  const products = await lowStock(env.DB);
  const key = `reports/low-stock/${scheduled.toISOString().slice(0, 10)}.csv`;
  const rows = products.map((product) => [product.sku, product.name, product.on_hand ?? 0, product.reorder_point ?? 0]);
  const csv = [["sku", "name", "on_hand", "reorder_point"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  await env.ASSETS_BUCKET.put(key, `${csv}\r\n`, { httpMetadata: { contentType: "text/csv; charset=utf-8" } });
  return `${products.length} products, ${key}`;
};

/** One CSV cell, quoted (RFC 4180). A leading quote sign keeps spreadsheets from reading a name as a formula. */
function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${harmless.replaceAll('"', '""')}"`;
}
