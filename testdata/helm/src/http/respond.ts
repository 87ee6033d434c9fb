import type { Visitor } from "../auth/gate";
import { navigation } from "../screens/navigation";
import { theme } from "../theme";
import { html, type Html } from "./html";

interface Page {
  readonly title: string;
  readonly body: Html;
  readonly status?: number;
}

/** A screen, with the navigation that the visitor may see. */
export function page(visitor: Visitor, { title, body, status = 200 }: Page): Response {
  const shop = visitor.env.SHOP_NAME;
  const links = navigation.filter((entry) => visitor.permissions.has(entry.permission));
  return document(
    status,
    `${title} · ${shop}`,
    html`<header>
        <img src="/logo" alt="${theme.logoAlt}">
        <nav>
          ${links.map(
            ({ path, label }) =>
              html`<a href="${path}"${visitor.url.pathname === path && html` aria-current="page"`}>${label}</a>`,
          )}
        </nav>
        <form method="post" action="/auth/logout">
          ${tokenField(visitor)}
          <button class="plain">Sign out ${visitor.staff.name}</button>
        </form>
      </header>
      <main>
        <h1>${title}</h1>
        ${body}
      </main>`,
  );
}

/** A page for somebody whom we do not know, or no longer. */
export function plainPage(status: number, title: string, body: Html): Response {
  return document(status, title, html`<main><h1>${title}</h1>${body}</main>`);
}

/** The hidden field that every form must carry (app.ts checks it). */
export function tokenField(visitor: Visitor): Html {
  return html`<input type="hidden" name="form_token" value="${visitor.formToken}">`;
}

/** After a form was acted on: the browser fetches location with GET, so that reloading does not send the form twice. */
export function seeOther(location: string): Response {
  return new Response(null, { status: 303, headers: { Location: location } });
}

/** Sends the browser through the sign-in dance. Nothing on that way may be remembered by a cache. */
export function redirect(location: string, ...cookies: readonly string[]): Response {
  const headers = new Headers({ Location: location, "Cache-Control": "no-store" });
  for (const cookie of cookies) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 302, headers });
}

function document(status: number, title: string, body: Html): Response {
  const { markup } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/helm.css">
<link rel="stylesheet" href="/theme.css">
</head>
<body>
${body}
</body>
</html>
`;
  return new Response(markup, {
    status,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      // Pages show customers' data; nobody's cache should keep them.
      "Cache-Control": "no-store",
      "Content-Security-Policy":
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
      "Referrer-Policy": "same-origin",
      "X-Content-Type-Options": "nosniff",
    },
  });
}
