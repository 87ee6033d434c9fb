import type { Visit } from "./http/router";

/** Which shop each store says it belongs to: nothing but slugs, so that anybody may check that no wire is crossed. */
export async function identity({ env }: Visit): Promise<Response> {
  const [d1, r2, kv] = await Promise.all([
    env.DB.prepare("SELECT value FROM settings WHERE key = 'shop_identity'").first<string>("value"),
    env.ASSETS_BUCKET.get("shop_identity").then((object) => object?.text() ?? null),
    env.KV.get("shop_identity"),
  ]);
  return Response.json({ shop: env.SHOP_SLUG, d1, r2, kv }, { headers: { "Cache-Control": "no-store" } });
}
