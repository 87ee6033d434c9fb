export default { mode: "production" as const };
