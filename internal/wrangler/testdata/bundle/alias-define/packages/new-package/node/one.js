exports.one = "node";
