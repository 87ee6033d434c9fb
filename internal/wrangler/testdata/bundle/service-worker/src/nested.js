import text from "./text.txt";
export const nested = text + SHOP;
