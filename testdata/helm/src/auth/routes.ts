import { audit } from "../data/audit";
import { html } from "../http/html";
import { clearCookie, loginCookie, readCookie, setCookie } from "../http/cookies";
import { plainPage, redirect } from "../http/respond";
import type { OpenRoute, Visit } from "../http/router";
import { emailOf, ProviderError, signInUrl } from "./provider";
import { challengeOf, randomToken, seal, unseal } from "./seal";
import { openSession } from "./session";

/** How long somebody may take at the identity provider, in seconds. */
const loginLifetime = 600;

/** What must be remembered between leaving for the identity provider and coming back. */
interface Login {
  readonly state: string;
  readonly verifier: string;
  readonly returnTo: string;
}

export const authRoutes: readonly OpenRoute[] = [
  { method: "GET", path: "/auth/login", handle: (visit) => patiently(() => leave(visit)) },
  { method: "GET", path: "/auth/callback", handle: callback },
  {
    method: "GET",
    path: "/auth/signed-out",
    handle: () => plainPage(200, "Signed out", html`<p><a href="/">Sign in again</a></p>`),
  },
];

async function leave({ env, url, now }: Visit): Promise<Response> {
  const login: Login = { state: randomToken(), verifier: randomToken(), returnTo: ownPath(url, "return_to") };
  const location = await signInUrl(env, {
    redirectUri: redirectUri(url),
    state: login.state,
    challenge: await challengeOf(login.verifier),
  });
  const expires = new Date(now.getTime() + loginLifetime * 1000);
  const sealed = await seal(env.SESSION_KEY, "login", login, expires);
  return redirect(location, setCookie(loginCookie, sealed, loginLifetime));
}

/** Whatever comes of it, a login serves once. */
async function callback(visit: Visit): Promise<Response> {
  const response = await patiently(() => comeBack(visit));
  response.headers.append("Set-Cookie", clearCookie(loginCookie));
  return response;
}

async function comeBack({ env, request, url, now }: Visit): Promise<Response> {
  const login = (await unseal(env.SESSION_KEY, "login", readCookie(request, loginCookie) ?? "", now)) as
    | Login
    | undefined;
  const code = url.searchParams.get("code");
  if (login === undefined || code === null || url.searchParams.get("state") !== login.state) {
    return plainPage(400, "That did not work", html`<p>Signing in was not finished. <a href="/">Try again</a></p>`);
  }
  const email = await emailOf(env, { code, verifier: login.verifier, redirectUri: redirectUri(url) });
  const staff =
    email === undefined
      ? null
      : await env.DB.prepare("SELECT id FROM staff WHERE email = ? AND active = 1").bind(email).first<{ id: number }>();
  if (staff === null) {
    await audit(env.DB, { staffId: null, action: "sign_in.refused", detail: email ?? "address not verified" }).run();
    return plainPage(
      403,
      "You are not on the list",
      html`<p>${email ?? "Your address"} is not registered at ${env.SHOP_NAME}. Ask the shop to add you.</p>`,
    );
  }
  await audit(env.DB, { staffId: staff.id, action: "sign_in" }).run();
  return redirect(login.returnTo, await openSession(env, staff.id, now));
}

/** Turns trouble at the identity provider into a page; the log has the cause. */
async function patiently(step: () => Promise<Response>): Promise<Response> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof ProviderError || error instanceof DOMException)) throw error;
    console.error("sign-in:", error.message);
    return plainPage(502, "Signing in is not possible", html`<p>The sign-in service does not answer. Try again soon.</p>`);
  }
}

function redirectUri(url: URL): string {
  return `${url.origin}/auth/callback`;
}

/** A query parameter as a path of this shop, "/" when it points anywhere else: an open redirect helps only phishers. */
function ownPath(url: URL, parameter: string): string {
  const target = URL.parse(url.searchParams.get(parameter) ?? "/", url.origin);
  return target?.origin === url.origin ? target.pathname + target.search : "/";
}
