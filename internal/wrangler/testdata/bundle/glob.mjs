// Matches paths with the glob-to-regexp inside wrangler. Argument: wrangler's cli.js. Reads
// [{glob, paths}, …] and prints [[without globstar, with globstar], …], each a list of booleans.
import { readFileSync } from "node:fs";

const cli = readFileSync(process.argv[2], "utf8");
const begin = cli.indexOf("function(glob, opts)", cli.indexOf("node_modules/glob-to-regexp/index.js"));
const end = cli.indexOf("\n    };\n", begin);
const globToRegexp = new Function(`return ${cli.slice(begin, end)}}`)();

const questions = JSON.parse(readFileSync(0, "utf8"));
console.log(
	JSON.stringify(
		questions.map(({ glob, paths }) =>
			[undefined, { globstar: true }].map((options) => {
				const expression = globToRegexp(glob, options);
				return paths.map((path) => expression.test(path));
			}),
		),
	),
);
