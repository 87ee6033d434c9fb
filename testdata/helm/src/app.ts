import { authRoutes } from "./auth/routes";
import { admit } from "./auth/gate";
import { formTokenIsGood } from "./auth/session";
import type { Env } from "./env";
import { html } from "./http/html";
import { page, plainPage } from "./http/respond";
import { find, type OpenRoute } from "./http/router";
import { identity } from "./identity";
import { screens } from "./screens/screens";
import { favicon, themeSheet } from "./theme";

/** What answers strangers. Everything that is not in this list is behind the gate, unknown paths included. */
const open: readonly OpenRoute[] = [
  ...authRoutes,
  { method: "GET", path: "/__identity", handle: identity },
  { method: "GET", path: "/theme.css", handle: themeSheet },
  { method: "GET", path: "/favicon.ico", handle: favicon },
];

export async function answer(request: Request, env: Env): Promise<Response> {
  const url = new URL(request.url);
  const visit = { request, url, env, now: new Date() };

  const stranger = find(open, request.method, url.pathname);
  if (stranger !== undefined) return stranger.route.handle({ ...visit, params: stranger.params });

  const admitted = await admit(visit);
  if (admitted instanceof Response) return admitted;

  const found = find(screens, request.method, url.pathname);
  if (found === undefined) {
    return page(admitted, { title: "Not found", status: 404, body: html`<p>There is no such page.</p>` });
  }
  const { route, params } = found;
  if (route.permission !== null && !admitted.permissions.has(route.permission)) {
    return page(admitted, {
      title: "Not for you",
      status: 403,
      body: html`<p>Your account does not include this screen. A system admin can change that under Permissions.</p>`,
    });
  }
  if (route.method === "GET") return route.show({ ...admitted, params });

  const form = await request.formData().catch(() => new FormData()); // no form at all carries no token either
  if (!(await formTokenIsGood(env, admitted.sessionId, form.get("form_token")))) {
    return plainPage(403, "That form is too old", html`<p>Go back, reload the page and send it again.</p>`);
  }
  return route.act({ ...admitted, params }, form);
}
