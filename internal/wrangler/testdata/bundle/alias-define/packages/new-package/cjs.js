module.exports = "cjs: an alias is required, not imported";
