import React, { h } from "tiny-jsx";

export function Layout(props: { title: string; children?: unknown }) {
	void h;
	return <html data-title={props.title}>{props.children}</html>;
}
