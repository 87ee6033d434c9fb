const emitter = require("emitter");
import pad, { side } from "pad";
import browserish from "browserish";
import * as conditional from "conditional";
import "effects";
import { used } from "effects/pure";

/*! legal comment */
export default {
	async fetch() {
		await using resource = { async [Symbol.asyncDispose]() {} };
		return Response.json({ pad: pad("x"), side, on: typeof emitter.on, browserish, conditional, used, resource: !!resource });
	},
};
