import "./dropped.js";
export const used = "used";
export const unused = globalThis.unused;
