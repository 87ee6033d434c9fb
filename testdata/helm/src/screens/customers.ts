import { addBike, addCustomer, customerById, findCustomers } from "../data/customers";
import { FieldError, text, wholeParam } from "../http/form";
import { html } from "../http/html";
import { page, seeOther, tokenField } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { complain, missing } from "./complain";

const permission = "screen.customers";

export const customerScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/customers", permission, show: list },
  { method: "POST", path: "/customers", permission, act: complain(create) },
  { method: "GET", path: "/customers/:id", permission, show },
  { method: "POST", path: "/customers/:id/bikes", permission, act: complain(createBike) },
];

async function list(visit: Admitted): Promise<Response> {
  const words = visit.url.searchParams.get("q")?.trim() ?? "";
  const customers = await findCustomers(visit.env.DB, words);
  return page(visit, {
    title: "Customers",
    body: html`<form class="inline" method="get" action="/customers">
        <input type="search" name="q" value="${words}" aria-label="Name, e-mail or phone">
        <button>Find</button>
      </form>
      <table>
        <tr><th>Name</th><th>E-mail</th><th>Phone</th></tr>
        ${customers.map(
          (customer) => html`<tr>
            <td><a href="/customers/${customer.id}">${customer.name}</a></td>
            <td>${customer.email}</td>
            <td>${customer.phone}</td>
          </tr>`,
        )}
      </table>
      <h2>New customer</h2>
      <form class="fields" method="post" action="/customers">
        ${tokenField(visit)}
        <label>Name <input name="name" required maxlength="500"></label>
        <label>E-mail <input type="email" name="email"></label>
        <label>Phone <input type="tel" name="phone"></label>
        <button>Add</button>
      </form>`,
  });
}

async function show(visit: Admitted): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  const found = id === undefined ? undefined : await customerById(visit.env.DB, id);
  if (found === undefined) return missing(visit);
  const { customer, bikes } = found;
  return page(visit, {
    title: customer.name,
    body: html`<p>${customer.email ?? "no e-mail"} · ${customer.phone ?? "no phone"}</p>
      <table>
        <tr><th>Bike</th><th>Color</th><th>Serial number</th></tr>
        ${bikes.map(
          (bike) => html`<tr><td>${bike.make} ${bike.model}</td><td>${bike.color}</td><td>${bike.serial_number}</td></tr>`,
        )}
      </table>
      <h2>Register a bike</h2>
      <form class="fields" method="post" action="/customers/${customer.id}/bikes">
        ${tokenField(visit)}
        <label>Make <input name="make" required></label>
        <label>Model <input name="model" required></label>
        <label>Color <input name="color"></label>
        <label>Serial number <input name="serial_number"></label>
        <button>Register</button>
      </form>`,
  });
}

async function create(visit: Admitted, form: FormData): Promise<Response> {
  const id = await addCustomer(visit.env.DB, {
    name: text(form, "name"),
    email: text(form, "email", "optional") || null,
    phone: text(form, "phone", "optional") || null,
  });
  if (id === undefined) throw new FieldError("That e-mail address belongs to another customer.");
  return seeOther(`/customers/${id}`);
}

async function createBike(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  if (id === undefined || (await customerById(visit.env.DB, id)) === undefined) return missing(visit);
  const added = await addBike(visit.env.DB, id, {
    make: text(form, "make"),
    model: text(form, "model"),
    color: text(form, "color", "optional"),
    serial_number: text(form, "serial_number", "optional") || null,
  });
  if (!added) throw new FieldError("A bike with that serial number is registered already.");
  return seeOther(`/customers/${id}`);
}
