var inherits = require("inherits");
var http = require("http");
var stream = require("stream");
var url = require("whatwg-url");
module.exports.dual = { inherits: inherits, http: http, stream: stream, url: url };
