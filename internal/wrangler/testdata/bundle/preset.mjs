// Asks Cloudflare's preset for unenv what it decides. Arguments: wrangler's cli.js, first day, last day.
// Prints {days, sets: [{flags, runs: [[first day, index of environment], …]}], environments, resolved}, the last one
// being the file below node_modules that each target means to wrangler, "" for none.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";

const [cli, firstDay, lastDay] = process.argv.slice(2);
const require = createRequire(cli);
const modules = dirname(dirname(require.resolve("unenv/package.json")));
const preset = join(modules, "@cloudflare/unenv-preset/dist/index.mjs");
const { defineEnv } = await import(pathToFileURL(require.resolve("unenv")));
const { getCloudflarePreset } = await import(pathToFileURL(preset));

const flags = [...new Set([...readFileSync(preset, "utf8").matchAll(/includes\(\s*"([^"]+)"/g)].map((m) => m[1]))].sort();
const off = (flag) => /^(disable|no)_/.test(flag);
// No flag, every single one, many at once, and every way to set the three that process depends on.
const sets = [[], ...flags.map((f) => [f]), flags.filter(off), flags.filter((f) => !off(f)), flags];
const ways = (on, off) => [[], [on], [off]];
for (const a of ways("fetch_iterable_type_support", "no_fetch_iterable_type_support")) {
	for (const b of ways("fetch_iterable_type_support_override_adjustment", "no_fetch_iterable_type_support_override_adjustment")) {
		for (const c of ways("enable_nodejs_process_v2", "disable_nodejs_process_v2")) {
			sets.push([...a, ...b, ...c]);
		}
	}
}

const days = [];
for (const day = new Date(firstDay); day <= new Date(lastDay); day.setUTCDate(day.getUTCDate() + 1)) {
	days.push(day.toISOString().slice(0, 10));
}

// defineEnv is slow and depends on nothing but the preset.
const byPreset = new Map();
const environments = [];
const targets = new Set();
function environment(compatibilityDate, compatibilityFlags) {
	const preset = getCloudflarePreset({ compatibilityDate, compatibilityFlags });
	const key = JSON.stringify(preset);
	if (!byPreset.has(key)) {
		byPreset.set(key, environments.length);
		const { env } = defineEnv({ presets: [preset, { alias: { debug: "debug" } }], npmShims: true });
		environments.push({ alias: env.alias, inject: Object.entries(env.inject), external: env.external, polyfill: env.polyfill });
		for (const target of [...Object.values(env.alias), ...env.polyfill]) targets.add(target);
	}
	return byPreset.get(key);
}

const out = sets.map((set) => {
	const runs = [];
	for (const day of days) {
		const index = environment(day, set);
		if (runs.at(-1)?.[1] !== index) runs.push([day, index]);
	}
	return { flags: set, runs };
});

const resolved = {};
for (const target of targets) {
	try {
		const file = require.resolve(target);
		resolved[target] = file.startsWith("/") ? relative(modules, file) : file;
	} catch {
		resolved[target] = "";
	}
}
console.log(JSON.stringify({ days, sets: out, environments, resolved }));
