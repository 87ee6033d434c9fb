import styles from "./styles.css";
import manifest from "__STATIC_CONTENT_MANIFEST";
import url from "data:text/javascript,export default 1";

label: for (const x of [1, 2]) {
	if (x) continue label;
}

export default { fetch: (): Response => new Response(`${styles} ${manifest} ${url} ${navigator.userAgent} é 🚲`) };
export const { a, b: [c = 1] } = { a: 1, b: [] as number[] };
