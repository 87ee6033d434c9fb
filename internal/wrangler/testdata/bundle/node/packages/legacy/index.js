var tty = require("node:tty");
var child = require("node:child_process");
exports.legacy = function legacy() {
	console.debug("legacy");
	return [tty.isatty(1), typeof child.spawn];
};
