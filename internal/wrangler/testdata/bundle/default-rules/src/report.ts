export function report(items: { sku: string; cents: number }[]): Response {
	return Response.json(items.map(({ sku, cents }) => ({ sku, price: cents / 100 })));
}
