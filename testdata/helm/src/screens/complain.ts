import { FieldError } from "../http/form";
import { html } from "../http/html";
import { page } from "../http/respond";
import type { Admitted } from "../http/router";

type Act = (visit: Admitted, form: FormData) => Promise<Response>;

/** Wraps what a form does, so that a field somebody got wrong becomes a page that says so. */
export function complain(act: Act): Act {
  return async (visit, form) => {
    try {
      return await act(visit, form);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      return page(visit, {
        title: "Please check",
        status: 422,
        body: html`<p class="notice">${error.message}</p><p>Go back to change it.</p>`,
      });
    }
  };
}

/** For an id in the path that belongs to nothing. */
export function missing(visit: Admitted): Response {
  return page(visit, { title: "Not found", status: 404, body: html`<p>There is no such record in this shop.</p>` });
}
