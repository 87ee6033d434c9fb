import { answer } from "./app";
import type { Env } from "./env";
import { runJob } from "./jobs/jobs";

export default {
  fetch: (request, env) => answer(request, env),
  scheduled: (controller, env) => runJob(controller.cron, new Date(controller.scheduledTime), env),
} satisfies ExportedHandler<Env>;
