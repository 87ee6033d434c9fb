import { permissions } from "../auth/permissions";
import { addMember, decide, decisions, listStaff, permissionsOf, roles, setActive, type Role } from "../data/staff";
import { choice, FieldError, text, wholeParam } from "../http/form";
import { html } from "../http/html";
import { page, seeOther, tokenField } from "../http/respond";
import type { Admitted, ScreenRoute } from "../http/router";
import { complain, missing } from "./complain";
import { navigation } from "./navigation";

const permission = "screen.permissions";
const roleLabels: Readonly<Record<Role, string>> = {
  sys_admin: "System admin",
  manager: "Manager",
  mechanic: "Mechanic",
  cashier: "Cashier",
};

export const permissionScreens: readonly ScreenRoute[] = [
  { method: "GET", path: "/permissions", permission, show },
  { method: "POST", path: "/permissions/staff", permission, act: complain(add) },
  { method: "POST", path: "/permissions/staff/:id/active", permission, act: complain(activate) },
  { method: "POST", path: "/permissions/staff/:id", permission, act: complain(change) },
];

async function show(visit: Admitted): Promise<Response> {
  const { members, grants } = await listStaff(visit.env.DB);
  const visible = await Promise.all(members.map((member) => permissionsOf(visit.env.DB, member.id)));
  const own = new Set(grants.map((grant) => `${grant.staff_id} ${grant.permission}`));
  return page(visit, {
    title: "Permissions",
    body: html`<p>A role decides what somebody sees; a star marks what was decided for the person alone.</p>
      <table>
        <tr><th>Name</th><th>Role</th>${navigation.map((entry) => html`<th>${entry.label}</th>`)}<th>Access</th></tr>
        ${members.map(
          (member, i) => html`<tr>
            <td>${member.name}<br>${member.email}</td>
            <td>${roleLabels[member.role]}</td>
            ${navigation.map(
              (entry) => html`<td>
                ${visible[i]?.has(entry.permission) ? "yes" : "no"}${own.has(`${member.id} ${entry.permission}`) && " *"}
              </td>`,
            )}
            <td>
              <form class="inline" method="post" action="/permissions/staff/${member.id}/active">
                ${tokenField(visit)}
                <input type="hidden" name="active" value="${member.active ? "no" : "yes"}">
                <button class="plain">${member.active ? "Lock out" : "Let in"}</button>
              </form>
            </td>
          </tr>
          <tr><td colspan="${navigation.length + 3}">
            <form class="inline" method="post" action="/permissions/staff/${member.id}">
              ${tokenField(visit)}
              <select name="permission">
                ${navigation.map((entry) => html`<option value="${entry.permission}">${entry.label}</option>`)}
              </select>
              <select name="decision">
                <option value="role">as the role says</option>
                <option value="allow">allow</option>
                <option value="deny">deny</option>
              </select>
              <button>Decide for ${member.name}</button>
            </form>
          </td></tr>`,
        )}
      </table>
      <h2>Let somebody in</h2>
      <form class="fields" method="post" action="/permissions/staff">
        ${tokenField(visit)}
        <label>Name <input name="name" required></label>
        <label>E-mail they sign in with <input type="email" name="email" required></label>
        <label>Role
          <select name="role">${roles.map((role) => html`<option value="${role}">${roleLabels[role]}</option>`)}</select>
        </label>
        <button>Add</button>
      </form>`,
  });
}

async function add(visit: Admitted, form: FormData): Promise<Response> {
  const added = await addMember(visit.env.DB, visit.staff.id, {
    name: text(form, "name"),
    email: text(form, "email"),
    role: choice(form, "role", roles),
  });
  if (!added) throw new FieldError("That address is on the list already.");
  return seeOther("/permissions");
}

async function activate(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  if (id === undefined) return missing(visit);
  if (id === visit.staff.id) throw new FieldError("Nobody locks themselves out; ask another admin.");
  await setActive(visit.env.DB, visit.staff.id, id, choice(form, "active", ["yes", "no"]) === "yes");
  return seeOther("/permissions");
}

async function change(visit: Admitted, form: FormData): Promise<Response> {
  const id = wholeParam(visit.params["id"]);
  if (id === undefined) return missing(visit);
  const name = choice(form, "permission", permissions);
  const decision = choice(form, "decision", decisions);
  if (id === visit.staff.id && name === permission && decision !== "allow") {
    throw new FieldError("Nobody takes this screen from themselves; ask another admin.");
  }
  await decide(visit.env.DB, visit.staff.id, id, name, decision);
  return seeOther("/permissions");
}
