import React, { h, Fragment } from "tiny-jsx";
import { Layout } from "@views/layout";
import { scheme } from "node:views";
import note from "~/texts/note.txt";

enum Kind {
	Road = 1,
	Gravel,
}

abstract class View {
	title = "bikes";
	declare readonly kind: Kind;
}

class Page extends View {
	override title = "gravel " + Kind.Gravel;
}

export default {
	fetch: () =>
		new Response(
			String(
				<Layout title={new Page().title}>
					<>
						<p {...{ class: "note" }}>{note + scheme}</p>
						{h === React.createElement && Fragment}
					</>
				</Layout>,
			),
		),
};
