export default { fetch: () => new Response("exports behind a star are not seen") };
