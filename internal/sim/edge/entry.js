// The way into a version: the edge's requests come in here and go on to the Worker. What only the edge needs to know
// (an exception, the outcome of a scheduled event) is told in headers that no client ever sees.
export default {
  async fetch(request, env) {
    const cron = request.headers.get("sim-cron");
    if (cron !== null) {
      const scheduledTime = new Date(Number(request.headers.get("sim-scheduled-time")));
      return Response.json(await env.WORKER.scheduled({ cron, scheduledTime }));
    }
    try {
      return await env.WORKER.fetch(request);
    } catch (error) {
      return new Response(String(error), { status: 500, headers: { "sim-exception": "1" } });
    }
  },
};
