import deep from "./deep.txt";
export const inner = (x) => x + deep;
