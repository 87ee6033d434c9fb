export const Fragment = "fragment";
export function h(tag, props, ...children) {
	return { tag, props, children };
}
export const unused = (() => h("never", null))();
export default { createElement: h, Fragment };
