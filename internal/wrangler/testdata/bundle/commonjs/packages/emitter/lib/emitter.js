var EventEmitter = require("node:events");
var util = require("node:util");
function Emitter() {
	EventEmitter.call(this);
}
util.inherits(Emitter, EventEmitter);
module.exports = new Emitter();
module.exports.Emitter = Emitter;
