import t from "./blobs/inner.txt";
import d from "./blobs/inner.bin";
addEventListener("fetch", e => e.respondWith(new Response(TEXT + t + d)));
