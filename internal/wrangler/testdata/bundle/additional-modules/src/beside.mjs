export const beside = "a module of its own";
