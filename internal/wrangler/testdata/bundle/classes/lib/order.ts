import { WorkflowEntrypoint } from "cloudflare:workers";

export class OrderFlow extends WorkflowEntrypoint {
	async run() {}
}
