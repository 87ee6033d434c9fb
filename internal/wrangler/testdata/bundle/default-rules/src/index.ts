import schema from "./sql/schema.sql";
import page from "./page.html";
import greeting from "./greeting.txt";
import again from "./greeting.txt";
import key from "./key.bin";
import add from "./add.wasm";
import addModule from "./add.wasm?module";
import prices from "./prices.json";
import { currency } from "./prices.json";
import { footer } from "./views/footer";

interface Env {
	SHOP: string;
}

class Greeter {
	constructor(private readonly name: string) {}
	hello(): string {
		return `${greeting.trim()}, ${this.name}`;
	}
}

export default {
	async fetch(request: Request, env: Env): Promise<Response> {
		if (new URL(request.url).pathname === "/report") {
			const { report } = await import("./report");
			return report(prices.items);
		}
		const agent = navigator.userAgent;
		const text = [schema, page, again, new Greeter(env.SHOP).hello(), footer(), agent, currency].join("\n");
		return new Response(text, { headers: { "x-key": String(key.byteLength), "x-wasm": String(add === addModule) } });
	},
} satisfies ExportedHandler<Env>;
