// Asks the function with which wrangler picks the Content-Type of an asset. Standard output: {name: type, …} for every
// extension that its tables name, and for names that only look as if they had one.
import fs from "node:fs";
import path30 from "node:path";

const source = fs.readFileSync(process.argv[2], "utf8");

// between cuts a stretch out of the source, from the first start to the end after it.
function between(start, end) {
  const from = source.indexOf(start);
  if (from < 0) throw new Error("not found: " + start);
  const to = source.indexOf(end, from);
  return source.slice(from, to + end.length);
}

const tables = ['types = {\n      "application/prs.cww"', 'types2 = {\n      "application/andrew-inset"'].map((start) =>
  between(start, "\n    };").replace(/^\w+ = /, "return "));
const [other, standard] = tables.map((code) => new Function(code)());

const Mime = new Function(
  "__name",
  "let __classPrivateFieldGet7, _Mime_extensionToType, _Mime_typeToExtension, _Mime_typeToExtensions, Mime, Mime_default;" +
    between("__classPrivateFieldGet7 = function(receiver", "Mime_default = Mime;") + "return Mime;",
)((f) => f);
const getContentType = new Function(
  "src_default", "__name", "let getContentType;" + between("getContentType = /* @__PURE__ */ __name((absFilePath)", '"getContentType");') + "return getContentType;",
)(new Mime(standard, other), (f) => f);

const names = ["noext", ".css", "a.", "a..css", "..css", "a.b.html", "a.HTML", "a.Css", "css", "a.unknown", "x.css/y", "a\\b.png", "a.b\\c", "a\\.png", "a.toString", "a.constructor", "a. css", "ü.txt"];
for (const table of [standard, other]) {
  for (const extension of Object.values(table).flat()) {
    names.push("file." + extension.replace("*", ""), "a.b." + extension.replace("*", "").toUpperCase());
  }
}
console.log(JSON.stringify(Object.fromEntries(names.map((name) =>
  ["/" + name, getContentType(path30.join("/public", name)) ?? "application/null"]))));
