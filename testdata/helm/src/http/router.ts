import type { Visitor } from "../auth/gate";
import type { Permission } from "../auth/permissions";
import type { Env } from "../env";

/** One request, before anybody knows who sent it. */
export interface Visit {
  readonly request: Request;
  readonly url: URL;
  readonly env: Env;
  readonly now: Date;
}

/** The values of the `:names` in a route's path, percent-decoded. */
export type Params = Readonly<Record<string, string>>;

interface Address {
  readonly method: "GET" | "POST";
  /** A path whose segments are literal or `:name`. */
  readonly path: string;
}

/** A route that answers strangers. */
export interface OpenRoute extends Address {
  handle(visit: Visit & { readonly params: Params }): Promise<Response> | Response;
}

interface Guarded extends Address {
  /** What the visitor needs; null: being signed in is enough. */
  readonly permission: Permission | null;
}

export type Admitted = Visitor & { readonly params: Params };

/** A route behind the gate. `act` is only called with a form that carries the visitor's token. */
export type ScreenRoute =
  | (Guarded & { readonly method: "GET"; show(visit: Admitted): Promise<Response> | Response })
  | (Guarded & { readonly method: "POST"; act(visit: Admitted, form: FormData): Promise<Response> | Response });

/** The first route that fits; HEAD is answered like GET, and the runtime drops the body. */
export function find<R extends Address>(
  routes: readonly R[],
  method: string,
  pathname: string,
): { readonly route: R; readonly params: Params } | undefined {
  const wanted = method === "HEAD" ? "GET" : method;
  for (const route of routes) {
    const params = route.method === wanted ? fit(route.path, pathname) : undefined;
    if (params !== undefined) return { route, params };
  }
  return undefined;
}

function fit(path: string, pathname: string): Params | undefined {
  const names = path.split("/");
  const values = pathname.split("/");
  if (names.length !== values.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, name] of names.entries()) {
    const value = values[i] ?? "";
    if (!name.startsWith(":")) {
      if (name !== value) return undefined;
    } else if (value === "") {
      return undefined;
    } else {
      try {
        params[name.slice(1)] = decodeURIComponent(value);
      } catch {
        return undefined; // "%zz" names nothing
      }
    }
  }
  return params;
}
