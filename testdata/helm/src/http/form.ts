/** What a form field may not be. The message is shown to the person who filled it in. */
export class FieldError extends Error {
  override readonly name = "FieldError";
}

const longest = 500;

/** A text field, trimmed; optional ones are "" when left empty. */
export function text(form: FormData, field: string, need: "required" | "optional" = "required"): string {
  const value = form.get(field);
  const trimmed = typeof value === "string" ? value.trim() : "";
  if (trimmed === "" && need === "required") throw new FieldError(`Please fill in ${label(field)}.`);
  if (trimmed.length > longest) throw new FieldError(`${label(field)} may have ${longest} characters at most.`);
  return trimmed;
}

/** A whole number, as ids and quantities are. */
export function whole(form: FormData, field: string, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}): number {
  return inRange(text(form, field), label(field), min, max);
}

/** Like whole, for a number that comes from the path; undefined when it is none. */
export function wholeParam(value: string | undefined): number | undefined {
  return value !== undefined && /^[1-9]\d{0,14}$/.test(value) ? Number(value) : undefined;
}

/** A date as <input type="date"> sends it (YYYY-MM-DD), or null when left empty. */
export function date(form: FormData, field: string): string | null {
  const value = text(form, field, "optional");
  if (value === "") return null;
  if (!/^\d{4}-\d{2}-\d{2}$/.test(value) || Number.isNaN(Date.parse(value))) {
    throw new FieldError(`${label(field)} is not a date.`);
  }
  return value;
}

/** One of a fixed set of values, as <select> sends it. */
export function choice<T extends string>(form: FormData, field: string, values: readonly T[]): T {
  const value = text(form, field);
  const found = values.find((candidate) => candidate === value);
  if (found === undefined) throw new FieldError(`${label(field)} cannot be "${value}".`);
  return found;
}

function inRange(value: string, name: string, min: number, max: number): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < min || number > max) {
    throw new FieldError(`${name} must be a whole number from ${min} to ${max}.`);
  }
  return number;
}

function label(field: string): string {
  return field.replace(/_id$/, "").replaceAll("_", " ");
}
