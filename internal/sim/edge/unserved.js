// Stands in for a binding to something that the simulator has not got: it exists, and says so when it is used.
const quiet = new Set(["then", "toJSON", "constructor"]);

export default function (env) {
  return new Proxy(
    {},
    {
      get(target, key) {
        if (typeof key === "symbol" || quiet.has(key)) return target[key];
        throw new Error(env.message);
      },
    },
  );
}
