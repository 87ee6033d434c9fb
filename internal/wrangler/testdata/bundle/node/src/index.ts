import { AsyncLocalStorage } from "node:async_hooks";
import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import os from "node:os";
import { performance } from "node:perf_hooks";
import { legacy } from "legacy";

const storage = new AsyncLocalStorage<string>();

export default {
	async fetch(): Promise<Response> {
		const { join } = await import("node:path/posix");
		return storage.run("request", () =>
			Response.json({
				base64: Buffer.from("bike").toString("base64"),
				exists: fs.existsSync("/bundle"),
				platform: os.platform(),
				now: performance.now(),
				joined: join("a", "b"),
				env: process.env.SHOP,
				pid: globalThis.process?.pid,
				legacy: legacy(),
			}),
		);
	},
};
