import top from "./texts/top.md";
import { bundled } from "./lib/bundled.js";
import { beside } from "./beside.mjs";

export default {
	async fetch(request) {
		const locale = new URL(request.url).searchParams.get("locale") ?? "en";
		const { default: words } = await import(`./locales/${locale}.mjs`);
		return new Response(top + words.hello + bundled() + beside);
	},
};
