// Receives what the Worker logged and threw, and hands it to the simulator.
export default {
  async tail(events, env) {
    await env.SINK.fetch("http://trace/", { method: "POST", body: JSON.stringify(events) });
  },
};
