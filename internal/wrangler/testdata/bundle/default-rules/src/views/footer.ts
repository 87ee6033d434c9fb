import imprint from "../imprint.txt";
import note from "./note.txt";

export const footer = (): string => imprint + note + (process.env.NODE_ENV === "production" ? "" : " (test)");
