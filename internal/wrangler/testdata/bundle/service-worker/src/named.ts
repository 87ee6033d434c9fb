export const shop: string = "swicked";
self.addEventListener("fetch", (event: FetchEvent) => event.respondWith(new Response(shop)));
