import wasm from "./add.wasm";
import text from "./text.txt";
import readme from "./readme.md";
import data from "./data.bin";
import { nested } from "./nested";

addEventListener("fetch", (event) => {
	event.respondWith(new Response([text, readme, data, wasm, nested].join()));
});
