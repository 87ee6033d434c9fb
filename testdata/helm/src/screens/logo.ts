import bundled from "../../shop-overrides/logo.svg";
import type { Admitted } from "../http/router";

/** The shop's logo: the one uploaded to its bucket, or the one its branch came with. */
export async function logo({ env, request }: Admitted): Promise<Response> {
  const object = await env.ASSETS_BUCKET.get("branding/logo", { onlyIf: request.headers });
  if (object === null) {
    return new Response(bundled, { headers: { "Content-Type": "image/svg+xml", "Cache-Control": "private, max-age=300" } });
  }
  const headers = new Headers({ ETag: object.httpEtag, "Cache-Control": "private, max-age=300" });
  object.writeHttpMetadata(headers);
  // An SVG may carry a script; as an image it is harmless, opened by itself it must stay so.
  headers.set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox");
  return "body" in object ? new Response(object.body, { headers }) : new Response(null, { status: 304, headers });
}
