var missing = require("./missing");
module.exports = { kind: "browser", missing: missing };
