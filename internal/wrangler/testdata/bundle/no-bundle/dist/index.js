import { chunk } from "./chunks/chunk-1.js";
import text from "./text.txt";
export default { fetch: () => new Response(chunk + text) };
//# sourceMappingURL=index.js.map
