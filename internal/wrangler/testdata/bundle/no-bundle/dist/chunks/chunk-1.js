export const chunk = "chunk";
//# sourceMappingURL=chunk-1.js.map
