import legacy from "./legacy.cjs";
export const bundled = () => legacy.name;
