import { findCustomers } from "../data/customers";
import { listProducts } from "../data/inventory";
import { readSettings } from "../data/settings";
import {
  addItem,
  charge,
  createWorkOrder,
  listWorkOrders,
  setStatus,
  statuses,
  workOrderById,
  type Status,
} from "../data/work_orders";
import { choice, date, FieldError, text, whole, wholeParam } from "../http/form";
import { html } from "../http/html";
import { page, seeOther, tokenField } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { money } from "../money";
import { complain, missing } from "./complain";

const permission = "screen.work_orders";
const workable = ["open", "in_progress", "waiting_parts", "ready"] as const satisfies readonly Status[];
const labels: Readonly<Record<Status, string>> = {
  open: "Open",
  in_progress: "In progress",
  waiting_parts: "Waiting for parts",
  ready: "Ready",
  closed: "Closed",
};

export const workOrderScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/work-orders", permission, show: list },
  { method: "POST", path: "/work-orders", permission, act: complain(create) },
  { method: "GET", path: "/work-orders/:id", permission, show },
  { method: "POST", path: "/work-orders/:id/status", permission, act: complain(move) },
  { method: "POST", path: "/work-orders/:id/items", permission, act: complain(add) },
  { method: "POST", path: "/work-orders/:id/charge", permission, act: complain(settle) },
];

async function list(visit: Admitted): Promise<Response> {
  const { env, url } = visit;
  const status = statuses.find((known) => known === url.searchParams.get("status"));
  const [orders, customers, settings] = await Promise.all([
    listWorkOrders(env.DB, status),
    findCustomers(env.DB, ""),
    readSettings(env),
  ]);
  return page(visit, {
    title: "Work orders",
    body: html`<p>
        <a href="/work-orders">On the board</a>
        ${statuses.map((each) => html` · <a href="/work-orders?status=${each}">${labels[each]}</a>`)}
      </p>
      <table>
        <tr><th>No.</th><th>Customer</th><th>Bike</th><th>What</th><th>Due</th><th>Status</th><th class="number">Total</th></tr>
        ${orders.map(
          (order) => html`<tr>
            <td><a href="/work-orders/${order.id}">${order.id}</a></td>
            <td>${order.customer}</td>
            <td>${order.bike ?? "–"}</td>
            <td>${order.summary}</td>
            <td>${order.due_on ?? "–"}</td>
            <td>${labels[order.status]}</td>
            <td class="number">${money(order.total_cents)}</td>
          </tr>`,
        )}
      </table>
      <h2>Take a bike in</h2>
      <form class="fields" method="post" action="/work-orders">
        ${tokenField(visit)}
        <label>Customer
          <select name="customer_id" required>
            ${customers.map((customer) => html`<option value="${customer.id}">${customer.name}</option>`)}
          </select>
        </label>
        <label>What is wrong <input name="summary" required maxlength="500"></label>
        <label>Ready by (we say ${settings.turnaround_days || "5"} days) <input type="date" name="due_on"></label>
        <button>Create</button>
      </form>`,
  });
}

async function show(visit: Admitted): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  const [found, products] = await Promise.all([
    id === undefined ? undefined : workOrderById(visit.env.DB, id),
    listProducts(visit.env.DB),
  ]);
  if (found === undefined) return missing(visit);
  const { order, items } = found;
  const closed = order.status === "closed";
  return page(visit, {
    title: `Work order ${order.id}`,
    body: html`<p>
        <a href="/customers/${order.customer_id}">${order.customer}</a> · ${order.bike ?? "no bike named"}
        · ${labels[order.status]} · due ${order.due_on ?? "when it is done"}
      </p>
      <p class="notice">${order.summary}</p>
      <table>
        <tr><th>Item</th><th class="number">Quantity</th><th class="number">Each</th><th class="number">Sum</th></tr>
        ${items.map(
          (item) => html`<tr>
            <td>${item.name}</td>
            <td class="number">${item.quantity}</td>
            <td class="number">${money(item.unit_price_cents)}</td>
            <td class="number">${money(item.quantity * item.unit_price_cents)}</td>
          </tr>`,
        )}
        <tr><th colspan="3">Total before tax</th><th class="number">${money(order.total_cents)}</th></tr>
      </table>
      ${!closed &&
      html`<h2>Add an item</h2>
        <form class="inline" method="post" action="/work-orders/${order.id}/items">
          ${tokenField(visit)}
          <select name="product_id" required>
            ${products.map((product) => html`<option value="${product.id}">${product.name}</option>`)}
          </select>
          <input type="number" name="quantity" value="1" min="1" max="99" required>
          <button>Add</button>
        </form>
        <h2>Move it along</h2>
        <form class="inline" method="post" action="/work-orders/${order.id}/status">
          ${tokenField(visit)}
          <select name="status">
            ${workable.map(
              (each) => html`<option value="${each}"${each === order.status && html` selected`}>${labels[each]}</option>`,
            )}
          </select>
          <button>Save</button>
        </form>
        <h2>Charge and close</h2>
        <form class="inline" method="post" action="/work-orders/${order.id}/charge">
          ${tokenField(visit)}
          <select name="method"><option value="card">Card</option><option value="cash">Cash</option></select>
          <button>Charge ${money(order.total_cents)} plus tax</button>
        </form>`}`,
  });
}

async function create(visit: Admitted, form: FormData): Promise<Response> {
  const id = await createWorkOrder(visit.env.DB, {
    customerId: whole(form, "customer_id"),
    bikeId: form.get("bike_id") ? whole(form, "bike_id") : null,
    summary: text(form, "summary"),
    dueOn: date(form, "due_on"),
  });
  if (id === undefined) throw new FieldError("There is no such customer, or the bike is not theirs.");
  return seeOther(`/work-orders/${id}`);
}

async function move(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  if (id === undefined) return missing(visit);
  await setStatus(visit.env.DB, visit.staff.id, id, choice(form, "status", workable));
  return seeOther(`/work-orders/${id}`);
}

async function add(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  if (id === undefined) return missing(visit);
  const added = await addItem(visit.env.DB, id, whole(form, "product_id"), whole(form, "quantity", { max: 99 }));
  if (!added) throw new FieldError("That product is not sold, or the work order is closed.");
  return seeOther(`/work-orders/${id}`);
}

async function settle(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  const found = id === undefined ? undefined : await workOrderById(visit.env.DB, id);
  if (found === undefined) return missing(visit);
  if (found.order.status === "closed") throw new FieldError("This work order was charged already.");
  const settings = await readSettings(visit.env);
  const method = choice(form, "method", ["card", "cash"]);
  await charge(visit.env.DB, visit.staff.id, found.order.id, method, Number(settings.sales_tax_bp || "0"));
  return seeOther(`/work-orders/${found.order.id}`);
}
