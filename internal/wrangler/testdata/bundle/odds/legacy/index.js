import text from "text.txt";
import wasm from "add.wasm";

export default { fetch: () => new Response(text + wasm) };
