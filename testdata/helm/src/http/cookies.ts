/**
 * The __Host- prefix makes browsers insist on Secure, Path=/ and no Domain, so that no other hostname, not even one
 * under the same zone, can plant the cookie.
 */
export const sessionCookie = "__Host-helm_session";
export const loginCookie = "__Host-helm_login";

export function readCookie(request: Request, name: string): string | undefined {
  for (const pair of request.headers.get("Cookie")?.split(";") ?? []) {
    const [key = "", value = ""] = pair.split("=", 2);
    if (key.trim() === name) return value.trim();
  }
  return undefined;
}

/** A Set-Cookie value. SameSite=Lax still comes along when the identity provider sends the browser back. */
export function setCookie(name: string, value: string, seconds: number): string {
  return `${name}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; Secure; SameSite=Lax`;
}

export function clearCookie(name: string): string {
  return setCookie(name, "", 0);
}
