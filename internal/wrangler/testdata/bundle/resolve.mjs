// Resolves specifiers from app/ as Node.js does and as the npm package resolve inside wrangler does. Arguments:
// wrangler's cli.js, the directory. Reads [specifier, …] and prints [{node, npm}, …] relative to the directory.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";

const [cliFile, dir] = process.argv.slice(2);
const require = createRequire(cliFile);
const app = join(dir, "app");

// The package's files stand one after the other in the bundle, each in a function of its own.
const cli = readFileSync(cliFile, "utf8");
const begin = cli.indexOf("var require_homedir = __commonJS({");
const end = cli.indexOf("\n});", cli.indexOf("var require_resolve = __commonJS({", begin)) + 4;
const commonJS = (files) => {
	let module;
	return () => {
		if (!module) {
			module = { exports: {} };
			Object.values(files)[0](module.exports, module);
		}
		return module.exports;
	};
};
const { sync } = new Function("__commonJS", "__require", "__name", "init_import_meta_url", `${cli.slice(begin, end)}\nreturn require_resolve();`)(
	commonJS, require, (f) => f, () => {},
);

const found = (resolve) => {
	try {
		const file = resolve();
		return file.startsWith("/") ? relative(dir, file) : file;
	} catch {
		return "";
	}
};
console.log(
	JSON.stringify(
		JSON.parse(readFileSync(0, "utf8")).map((specifier) => ({
			node: found(() => require.resolve(specifier, { paths: [app] })),
			npm: found(() => sync(specifier, { basedir: app })),
		})),
	),
);
