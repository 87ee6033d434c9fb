// Refreshes public/build_info.json for a deploy by hand (`npm run deploy -- --env <slug>`). shopfleet does the same in
// memory and leaves the working tree alone.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";

const git = (...args) => execFileSync("git", args, { encoding: "utf8" }).trim();

const branch = git("rev-parse", "--abbrev-ref", "HEAD");
const info = {
  shop: branch.startsWith("shops/") ? branch.slice("shops/".length) : "",
  branch,
  commit: git("rev-parse", "HEAD"),
  main_commit: git("merge-base", "HEAD", "main"),
  built_at: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
  actor: git("config", "user.email"),
};

writeFileSync(new URL("../public/build_info.json", import.meta.url), JSON.stringify(info, null, 2) + "\n");
