const encoder = new TextEncoder();
const shortestKey = 32;

/** What a seal is for. A value sealed for one purpose does not open for another. */
export type Purpose = "login" | "session" | "form";

/** Signs value until it expires: readable by its holder, but not changeable. The result fits in a cookie. */
export async function seal(key: string, purpose: Purpose, value: unknown, expires: Date): Promise<string> {
  const body = toBase64url(encoder.encode(JSON.stringify({ value, expires: expires.getTime() })));
  return `${body}.${await sign(key, purpose, body)}`;
}

/** The sealed value; undefined when it was tampered with, made for another purpose or is too old. */
export async function unseal(key: string, purpose: Purpose, sealed: string, now: Date): Promise<unknown> {
  const [body = "", signature = ""] = sealed.split(".", 2);
  if (!(await verify(key, purpose, body, signature))) return undefined;
  const { value, expires } = JSON.parse(new TextDecoder().decode(fromBase64url(body))) as {
    value: unknown;
    expires: number;
  };
  return expires > now.getTime() ? value : undefined;
}

/** A signature alone, for a value that both sides know. */
export async function sign(key: string, purpose: Purpose, text: string): Promise<string> {
  const signature = await crypto.subtle.sign("HMAC", await hmacKey(key), encoder.encode(`${purpose}:${text}`));
  return toBase64url(new Uint8Array(signature));
}

/** Compares in constant time. */
export async function verify(key: string, purpose: Purpose, text: string, signature: string): Promise<boolean> {
  const bytes = fromBase64url(signature);
  if (bytes === undefined) return false;
  return crypto.subtle.verify("HMAC", await hmacKey(key), bytes, encoder.encode(`${purpose}:${text}`));
}

export function randomToken(): string {
  return toBase64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** The S256 code challenge of PKCE (RFC 7636). */
export async function challengeOf(verifier: string): Promise<string> {
  return toBase64url(new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(verifier))));
}

function hmacKey(key: string): Promise<CryptoKey> {
  if (key.length < shortestKey) throw new Error(`SESSION_KEY must have ${shortestKey} characters or more`);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", encoder.encode(key), algorithm, false, ["sign", "verify"]);
}

function toBase64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64url(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    return undefined;
  }
}
