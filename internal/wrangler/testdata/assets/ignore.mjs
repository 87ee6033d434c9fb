// Asks the copy of the npm package "ignore" inside wrangler. Standard input: [{patterns, paths}, …].
// Standard output: per case, one verdict (true, false or null for "threw") per path.
import fs from "node:fs";

const source = fs.readFileSync(process.argv[2], "utf8");
const start = source.indexOf("\n", source.indexOf('ignore@5.3.1/node_modules/ignore/index.js"(exports2, module2) {')) + 1;
const end = source.indexOf("\n  }\n});", start);
const module2 = { exports: {} };
new Function("module2", "exports2", "init_import_meta_url", "__name", source.slice(start, end))(
  module2, module2.exports, () => {}, (f) => f);

const cases = JSON.parse(fs.readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ patterns, paths }) => {
  let ignorer;
  try {
    ignorer = module2.exports().add(patterns);
  } catch {
    return paths.map(() => null);
  }
  return paths.map((path) => {
    try {
      return ignorer.test(path).ignored;
    } catch {
      return null;
    }
  });
})));
