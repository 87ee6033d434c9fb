import { listProducts, moveKinds, moveStock, type MoveKind } from "../data/inventory";
import { choice, FieldError, text, whole, wholeParam } from "../http/form";
import { html } from "../http/html";
import { page, seeOther, tokenField } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { money } from "../money";
import { complain, missing } from "./complain";

const permission = "screen.inventory";
const labels: Readonly<Record<MoveKind, string>> = {
  receive: "Received",
  use: "Used in the shop",
  return: "Returned",
  count: "Counted",
};

export const inventoryScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/inventory", permission, show: list },
  { method: "POST", path: "/inventory/:id/moves", permission, act: complain(move) },
];

async function list(visit: Admitted): Promise<Response> {
  const products = await listProducts(visit.env.DB);
  return page(visit, {
    title: "Inventory",
    body: html`<table>
      <tr><th>SKU</th><th>Product</th><th>Category</th><th class="number">Price</th><th class="number">On hand</th><th></th></tr>
      ${products.map(
        ({ id, sku, name, category, price_cents, on_hand, reorder_point }) => html`<tr>
          <td>${sku}</td>
          <td>${name}</td>
          <td>${category}</td>
          <td class="number">${money(price_cents)}</td>
          <td class="number${on_hand !== null && on_hand <= (reorder_point ?? 0) && " low"}">${on_hand ?? "–"}</td>
          <td>${
            on_hand !== null &&
            html`<form class="inline" method="post" action="/inventory/${id}/moves">
              ${tokenField(visit)}
              <select name="kind">${moveKinds.map((kind) => html`<option value="${kind}">${labels[kind]}</option>`)}</select>
              <input type="number" name="quantity" min="0" max="9999" required>
              <input name="reason" aria-label="Why">
              <button>Save</button>
            </form>`
          }</td>
        </tr>`,
      )}
    </table>`,
  });
}

async function move(visit: Admitted, form: FormData): Promise<Response> {
  const productId = wholeParam(visit.params["id"]);
  if (productId === undefined) return missing(visit);
  const moved = await moveStock(visit.env.DB, visit.staff.id, {
    productId,
    kind: choice(form, "kind", moveKinds),
    quantity: whole(form, "quantity", { min: 0, max: 9999 }),
    reason: text(form, "reason", "optional"),
  });
  if (!moved) throw new FieldError("That product has no shelf.");
  return seeOther("/inventory");
}
