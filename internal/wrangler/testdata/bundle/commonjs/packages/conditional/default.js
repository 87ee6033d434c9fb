export const runtime = "default";
