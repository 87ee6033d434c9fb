import { closeSession } from "../auth/session";
import { redirect } from "../http/respond";
import type { ScreenRoute } from "../http/router";
import { customerScreens } from "./customers";
import { dashboardScreens } from "./dashboard";
import { inventoryScreens } from "./inventory";
import { logo } from "./logo";
import { permissionScreens } from "./permissions";
import { settingsScreens } from "./settings";
import { workOrderScreens } from "./work_orders";

/** Everything behind the gate. */
export const screens: readonly ScreenRoute[] = [
  ...dashboardScreens,
  ...workOrderScreens,
  ...customerScreens,
  ...inventoryScreens,
  ...settingsScreens,
  ...permissionScreens,
  { method: "GET", path: "/logo", permission: null, show: logo },
  {
    method: "POST",
    path: "/auth/logout",
    permission: null,
    act: async ({ env, sessionId }) => redirect("/auth/signed-out", await closeSession(env, sessionId)),
  },
];
