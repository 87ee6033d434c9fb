module.exports = "not for browsers";
