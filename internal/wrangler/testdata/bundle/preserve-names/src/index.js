import a from "./a.txt";
import b from "../b.html";
import c from "pkg/c.wasm";
import { inner } from "./inner";

function named() {
	return inner(a + b + c);
}

export default { fetch: () => new Response(named.name + named()) };
