// Asks the real wrangler's own functions, many questions in one process.
//
//   node oracle.mjs <path of wrangler's cli.js> < questions > answers
//
// stdin is a JSON array of questions, stdout the array of answers in the same order:
//
//   {"kind": "config", "dir": …, "text": …, "env": …}
//     what wrangler makes of a wrangler.jsonc with that text in that directory:
//     {"config", "bindings", "errors", "warnings"}, or {"errors": [one message]} when it throws
//   {"kind": "migrations", "dir": …, "migrationsDir": …, "migrationsPattern": …}
//     the migration files in the order they are applied: {"names"} or {"errors"}
//   {"kind": "deploy", "dir": …, "args": […]}
//     the whole command line tool, run in that directory: {"exit", "output"}; a run costs a tenth of what a
//     process of its own costs
//   {"kind": "number", "text": …}
//     what JSON.stringify makes of a JSON text: {"text"}
//
// The functions are not exported, so the script is loaded with a line appended that exports them.
import fs from "node:fs";
import Module from "node:module";
import path from "node:path";

const cli = process.argv[2];
const names = [
  "parseJSONC", "readFileSync", "normalizeAndValidateConfig", "getBindings", "createWorkerUploadForm",
  "getD1MigrationFiles", "parseConfigPlacement", "applyServiceAndEnvironmentTags", "getSubdomainValues", "main",
];
const source = fs.readFileSync(cli, "utf8") + `\n;exports.oracle = { ${names.join(", ")} };\n`;
const module = new Module(cli);
module.filename = cli;
module.paths = Module._nodeModulePaths(path.dirname(cli));
module._compile(source, cli);
const wrangler = module.exports.oracle;

function flatten(diagnostics, kind) {
  return [...diagnostics[kind], ...diagnostics.children.flatMap((child) => flatten(child, kind))];
}

function config({ dir, text, env }) {
  process.chdir(dir);
  const file = path.join(dir, "wrangler.jsonc");
  fs.writeFileSync(file, Buffer.from(text, "base64"));
  const raw = wrangler.parseJSONC(wrangler.readFileSync(file), file);
  const { config, diagnostics } = wrangler.normalizeAndValidateConfig(raw, file, file, { env: env || undefined });
  const answer = { config, errors: flatten(diagnostics, "errors"), warnings: flatten(diagnostics, "warnings") };
  if (answer.errors.length > 0) return answer;
  const routes = config.routes ?? (config.route ? [config.route] : []);
  answer.workersDev = wrangler.getSubdomainValues(config.workers_dev, config.preview_urls, routes).workers_dev;
  answer.routes = routes;
  answer.placement = wrangler.parseConfigPlacement(config.placement);
  answer.tags = config.topLevelName ? wrangler.applyServiceAndEnvironmentTags(config, []) : [];
  const bindings = wrangler.getBindings(config);
  // The files of wasm_modules and the like need not exist.
  for (const binding of Object.values(bindings)) if (binding.source) binding.source = { contents: "" };
  const form = wrangler.createWorkerUploadForm(
    { main: { name: "index.js", content: "", type: "esm" }, modules: [] },
    bindings,
    { dryRun: true },
  );
  answer.bindings = JSON.stringify(JSON.parse(form.get("metadata")).bindings);
  return answer;
}

async function deploy({ dir, args }) {
  process.chdir(dir);
  let output = "";
  const streams = [process.stdout, process.stderr];
  const writes = streams.map((stream) => stream.write);
  for (const stream of streams) {
    stream.write = (chunk, encoding, done) => {
      output += chunk;
      if (typeof encoding === "function") encoding();
      done?.();
      return true;
    };
  }
  let exit = 0;
  try {
    await wrangler.main(args);
  } catch {
    exit = 1; // and it has printed why
  } finally {
    streams.forEach((stream, i) => (stream.write = writes[i]));
  }
  return { exit, output };
}

async function answer(question) {
  try {
    switch (question.kind) {
      case "deploy":
        return await deploy(question);
      case "config":
        return config(question);
      case "migrations":
        return {
          names: wrangler.getD1MigrationFiles({
            projectPath: question.dir,
            migrationsDir: question.migrationsDir,
            migrationsPattern: question.migrationsPattern,
          }).map((file) => file.name),
        };
      case "number":
        return { text: JSON.stringify(JSON.parse(question.text)) };
      default:
        throw new Error(`unknown question: ${question.kind}`);
    }
  } catch (error) {
    return { errors: [String(error)] };
  }
}

const questions = JSON.parse(fs.readFileSync(0, "utf8"));
const answers = [];
for (const question of questions) answers.push(await answer(question));
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
