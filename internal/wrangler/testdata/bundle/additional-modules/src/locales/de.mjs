export default { hello: "hallo" };
