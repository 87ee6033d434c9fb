/**
 * Markup that is safe to send. The class is exported as a type only, so that the template tag below is the one way to
 * make it: text gets into a page escaped, or not at all.
 */
class Html {
  constructor(readonly markup: string) {}
}
export type { Html };

export type Part = Html | string | number | null | undefined | false | readonly Part[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/**
 * html`<p>${text}</p>` escapes what is put in, for element content and for quoted attribute values. Arrays are joined;
 * null, undefined and false are nothing, so that `${condition && html`…`}` reads well.
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...parts.map(render)));
}

function render(part: Part): string {
  if (part === null || part === undefined || part === false) return "";
  if (part instanceof Html) return part.markup;
  if (Array.isArray(part)) return part.map(render).join("");
  return String(part).replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
