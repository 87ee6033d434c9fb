import type { Permission } from "../auth/permissions";

/** What the header links to, in its order; each visitor sees the part they may open. */
export const navigation: readonly { readonly path: string; readonly label: string; readonly permission: Permission }[] = [
  { path: "/", label: "Dashboard", permission: "screen.dashboard" },
  { path: "/work-orders", label: "Work orders", permission: "screen.work_orders" },
  { path: "/customers", label: "Customers", permission: "screen.customers" },
  { path: "/inventory", label: "Inventory", permission: "screen.inventory" },
  { path: "/settings", label: "Settings", permission: "screen.settings" },
  { path: "/permissions", label: "Permissions", permission: "screen.permissions" },
];
