import config from "the-config";
import { log } from "./logger";
import modern from "old-package";
import { one } from "old-package/sub";
import main from "main-package";
import plain from "plain-directory";

declare const VERSION: string;
declare const FEATURES: { cart: boolean };

export default {
	fetch(): Response {
		log(process.env.NODE_ENV);
		return Response.json({ VERSION, cart: FEATURES.cart, api: process.env.API, agent: navigator.userAgent, config, modern, one, main, plain });
	},
};
