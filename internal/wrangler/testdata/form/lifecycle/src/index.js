export class Room {}
export class Api {}
export class Flow {}
export default { fetch: () => new Response("ok") };
