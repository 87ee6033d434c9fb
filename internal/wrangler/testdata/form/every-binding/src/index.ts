import text from "./note.txt";

export class Room {}
export class Flow {}
export default {
  fetch() {
    return new Response(text);
  },
};
