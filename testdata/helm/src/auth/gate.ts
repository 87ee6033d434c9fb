import { redirect } from "../http/respond";
import type { Visit } from "../http/router";
import { timestamp } from "../time";
import { isPermission, permissionsOfStaff, type Permission } from "./permissions";
import { formToken, sessionIdOf } from "./session";

export interface Staff {
  readonly id: number;
  readonly email: string;
  readonly name: string;
  readonly role: string;
}

/** A request from somebody who is on the list. */
export interface Visitor extends Visit {
  readonly staff: Staff;
  readonly permissions: ReadonlySet<Permission>;
  readonly sessionId: string;
  readonly formToken: string;
}

/**
 * The gate in front of every screen. It lets a request through when its session is open and its owner is an active
 * member of staff at this very moment; everybody else is sent to sign in.
 */
export async function admit(visit: Visit): Promise<Visitor | Response> {
  const { env, request, now } = visit;
  const sessionId = await sessionIdOf(env, request, now);
  if (sessionId === undefined) return toSignIn(visit);

  const staff = await env.DB.prepare(
    `SELECT staff.id, staff.email, staff.name, staff.role
       FROM sessions JOIN staff ON staff.id = sessions.staff_id
      WHERE sessions.id = ? AND sessions.expires_at > ? AND staff.active = 1`,
  )
    .bind(sessionId, timestamp(now))
    .first<Staff>();
  if (staff === null) return toSignIn(visit);

  const { results } = await env.DB.prepare(permissionsOfStaff).bind(staff.id).all<{ name: string }>();
  return {
    ...visit,
    staff,
    permissions: new Set(results.map((row) => row.name).filter(isPermission)),
    sessionId,
    formToken: await formToken(env, sessionId),
  };
}

function toSignIn({ request, url }: Visit): Response {
  const login = new URL("/auth/login", url);
  // A form that was sent without a session cannot be sent again after signing in; its page can be shown again.
  if (request.method === "GET") login.searchParams.set("return_to", url.pathname + url.search);
  return redirect(login.pathname + login.search);
}
