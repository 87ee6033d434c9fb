module.exports = function debug(name) {
	return "browser " + name;
};
