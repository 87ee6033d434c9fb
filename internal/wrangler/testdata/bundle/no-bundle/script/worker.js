addEventListener("fetch", (event) => event.respondWith(new Response("as it is")));
