export const scheme = "resolved, its scheme notwithstanding";
