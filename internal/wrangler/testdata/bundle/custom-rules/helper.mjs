export function helper() {
	return "bundled, rules for JavaScript notwithstanding";
}
