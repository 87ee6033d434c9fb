export default { hello: "servus" };
