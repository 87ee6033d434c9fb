import { DurableObject, WorkerEntrypoint, WorkflowEntrypoint } from "cloudflare:workers";
import { EmailMessage } from "cloudflare:email";

export class Cart extends DurableObject {
	#items = new Map<string, number>();
	static readonly limit = 50;
	add(sku: string): number {
		const count = (this.#items.get(sku) ?? 0) + 1;
		this.#items.set(sku, count);
		return count;
	}
}

export { OrderFlow } from "./order";

export class Admin extends WorkerEntrypoint {
	mail = () => new EmailMessage("a@example.com", "b@example.com", "");
}

export default class extends WorkerEntrypoint {
	fetch() {
		return new Response(Cart.name);
	}
}
void WorkflowEntrypoint;
