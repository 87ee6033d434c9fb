/** A moment as the database writes it: UTC, whole seconds. */
export function timestamp(moment: Date): string {
  return moment.toISOString().replace(/\.\d+Z$/, "Z");
}
