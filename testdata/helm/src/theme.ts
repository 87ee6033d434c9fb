import overrides from "../shop-overrides/theme.json";
import type { Visit } from "./http/router";

/** What a shop may say about its looks: the values that main ships, or the ones on the shop's branch. */
export const theme: { readonly accent: string; readonly greeting: string; readonly logoAlt: string } = overrides;

/** The shop's colour as a style sheet, since pages forbid inline styles. */
export function themeSheet(): Response {
  return new Response(`:root { --accent: ${theme.accent}; }\n`, {
    headers: { "Content-Type": "text/css; charset=utf-8", "Cache-Control": "public, max-age=300" },
  });
}

/** Browsers ask for /favicon.ico whatever the page says. */
export function favicon({ env, url }: Visit): Promise<Response> {
  return env.ASSETS.fetch(new URL("/favicon.svg", url));
}
