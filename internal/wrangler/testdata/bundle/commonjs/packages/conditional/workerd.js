export const runtime = "workerd";
