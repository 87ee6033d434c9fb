import terms from "./docs/terms.md";
import hello from "./docs/hello.txt";
import data from "./blob.dat";
import wasm from "./f.wat+wasm";
import plain from "./f.wasm";
import vendored from "vendored/data/table.dat";
import { helper } from "./helper.mjs";

export default {
	fetch: () => new Response([terms, hello, data, wasm, plain, vendored, helper()].join()),
};
