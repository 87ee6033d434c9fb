import type { Env } from "../env";
import { clearCookie, readCookie, sessionCookie, setCookie } from "../http/cookies";
import { timestamp } from "../time";
import { randomToken, seal, sign, unseal, verify } from "./seal";

const lifetime = 12 * 3600; // seconds; a long shop day

/** Opens a session and gives the Set-Cookie value that carries it. */
export async function openSession(env: Env, staffId: number, now: Date): Promise<string> {
  const id = randomToken();
  const expires = new Date(now.getTime() + lifetime * 1000);
  await env.DB.prepare("INSERT INTO sessions (id, staff_id, expires_at) VALUES (?, ?, ?)")
    .bind(id, staffId, timestamp(expires))
    .run();
  return setCookie(sessionCookie, await seal(env.SESSION_KEY, "session", id, expires), lifetime);
}

/** The session id that the request's cookie vouches for. Whether the session is still open is for the gate to ask. */
export async function sessionIdOf(env: Env, request: Request, now: Date): Promise<string | undefined> {
  const cookie = readCookie(request, sessionCookie);
  if (cookie === undefined) return undefined;
  const id = await unseal(env.SESSION_KEY, "session", cookie, now);
  return typeof id === "string" ? id : undefined;
}

/** Ends a session and gives the Set-Cookie value that forgets it. */
export async function closeSession(env: Env, id: string): Promise<string> {
  await env.DB.prepare("DELETE FROM sessions WHERE id = ?").bind(id).run();
  return clearCookie(sessionCookie);
}

/** The token that a session's forms carry; another site cannot know it, so it cannot post in the visitor's name. */
export function formToken(env: Env, sessionId: string): Promise<string> {
  return sign(env.SESSION_KEY, "form", sessionId);
}

export async function formTokenIsGood(env: Env, sessionId: string, token: unknown): Promise<boolean> {
  return typeof token === "string" && verify(env.SESSION_KEY, "form", sessionId, token);
}
