// Loaded into every judge (node --require): names are looked up on this machine only, so that wrangler's
// search for a newer version of itself leaves it alone. It takes the failure for "no newer version".
const dns = require("node:dns");

const lookup = dns.lookup;
dns.lookup = (hostname, options, callback) => {
  const done = callback ?? options;
  if (hostname === "localhost" || hostname === "127.0.0.1" || hostname === "::1") {
    return lookup(hostname, options, callback);
  }
  process.nextTick(() => done(new Error(`tests stay on this machine: ${hostname}`)));
};
