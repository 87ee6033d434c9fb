module.exports = function debug(name) {
	return "node " + name;
};
