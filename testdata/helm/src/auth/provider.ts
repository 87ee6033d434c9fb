import type { Env } from "../env";

/** The identity provider did not do its part. The message is for the log; visitors get one sentence. */
export class ProviderError extends Error {
  override readonly name = "ProviderError";
}

interface Endpoints {
  readonly authorization_endpoint: string;
  readonly token_endpoint: string;
  readonly userinfo_endpoint: string;
}

const discoveryLifetime = 3600; // seconds

/** Where to send the browser to sign in. */
export async function signInUrl(
  env: Env,
  request: { readonly redirectUri: string; readonly state: string; readonly challenge: string },
): Promise<string> {
  const url = new URL((await discover(env)).authorization_endpoint);
  url.searchParams.set("response_type", "code");
  url.searchParams.set("client_id", env.OAUTH_CLIENT_ID);
  url.searchParams.set("redirect_uri", request.redirectUri);
  url.searchParams.set("scope", "openid email");
  url.searchParams.set("state", request.state);
  url.searchParams.set("code_challenge", request.challenge);
  url.searchParams.set("code_challenge_method", "S256");
  return url.href;
}

/** The e-mail address behind an authorization code; undefined when the provider has not verified it. */
export async function emailOf(
  env: Env,
  grant: { readonly code: string; readonly verifier: string; readonly redirectUri: string },
): Promise<string | undefined> {
  const endpoints = await discover(env);
  const token = await ask("token", endpoints.token_endpoint, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: grant.code,
      redirect_uri: grant.redirectUri,
      client_id: env.OAUTH_CLIENT_ID,
      client_secret: env.OAUTH_CLIENT_SECRET,
      code_verifier: grant.verifier,
    }),
  });
  const profile = await ask("userinfo", endpoints.userinfo_endpoint, {
    headers: { Authorization: `Bearer ${field(token, "access_token")}` },
  });
  return profile["email_verified"] === true ? field(profile, "email") : undefined;
}

/** OpenID Connect discovery, remembered in KV so that signing in does not wait for it. */
async function discover(env: Env): Promise<Endpoints> {
  const key = `oauth:endpoints:${env.OAUTH_ISSUER}`;
  const known = await env.KV.get<Endpoints>(key, "json");
  if (known !== null) return known;

  const document = await ask("discovery", `${env.OAUTH_ISSUER}/.well-known/openid-configuration`);
  if (document["issuer"] !== env.OAUTH_ISSUER) {
    throw new ProviderError(`${env.OAUTH_ISSUER} says that its issuer is ${String(document["issuer"])}`);
  }
  const endpoints: Endpoints = {
    authorization_endpoint: field(document, "authorization_endpoint"),
    token_endpoint: field(document, "token_endpoint"),
    userinfo_endpoint: field(document, "userinfo_endpoint"),
  };
  await env.KV.put(key, JSON.stringify(endpoints), { expirationTtl: discoveryLifetime });
  return endpoints;
}

async function ask(what: string, url: string, init?: RequestInit): Promise<Record<string, unknown>> {
  const response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new ProviderError(`${what}: ${url} answered ${response.status}`);
  const body: unknown = await response.json();
  if (typeof body !== "object" || body === null) throw new ProviderError(`${what}: ${url} answered no JSON object`);
  return body as Record<string, unknown>;
}

function field(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value !== "string" || value === "") throw new ProviderError(`the provider's answer has no ${name}`);
  return value;
}
