export const one = "workerd";
