exports.__esModule = true;
exports.default = function pad(s) {
	return s.padStart(4);
};
exports.side = require("./side.json").side;
