// `valet run` with a configuration of the test's own, and the simulated vendor behind it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { ask, told } from "./ask.mjs";
import { child, opened } from "./opened.mjs";
import { VALET, program } from "./program.mjs";

const API_KEY = "test-key-of-the-browser-tests";

/** `valet simulate provider` on a free port. */
export async function vendor() {
  let address;
  const { stop } = await program(["simulate", "provider", "--listen", "127.0.0.1:0", "--api-key", API_KEY], (line) => {
    address ??= line.match(/^Listening\s+(\S+)/)?.[1];
    return line.includes("Ctrl-C");
  });
  return { address, stop };
}

/** `valet simulate idp` on a free port, with these users beside its own. */
export async function idp(users = []) {
  let address;
  const { stop } = await program(["simulate", "idp", "--listen", "127.0.0.1:0", "--audience", "my-app", ...users.flatMap((user) => ["--user", user])], (line) => {
    address ??= line.match(/^Listening\s+(\S+)/)?.[1];
    return line.includes("Ctrl-C");
  });
  return {
    /** The text of its table. */
    issuer: `issuer = "${address}"\naudiences = ["my-app"]\nalgorithms = ["ES256"]\nkeys = { discovery = true }`,
    token: async (user) => (await told(`${address}/token`, { method: "POST", body: { user } })).access_token,
    stop,
  };
}

/**
 * `valet run` on free ports, before one vendor and for one issuer; `issuer` is the text of its table, `origins` are the pages that may read
 * the JSON; `token` is that of the administration address; `tables` stand behind all others.
 */
export async function gateway({ issuer, vendor, login = "/login", origins = [], token, tables = "" }) {
  const folder = await mkdtemp(join(tmpdir(), "valet-oidc-"));
  const remove = opened(folder, () => rm(folder, { recursive: true }));
  const config = join(folder, "valet.toml");
  await writeFile(join(folder, "vendor.key"), API_KEY, { mode: 0o600 });
  if (token) await writeFile(join(folder, "admin.token"), token, { mode: 0o600 });
  await writeFile(config, toml({ issuer, vendor, login, origins, token, tables }));
  const at = {};
  const { lines, stop } = await program(["run", "--config", config], (line) => {
    const { message, address } = line.startsWith("{") ? JSON.parse(line) : {};
    if (message === "serving") at.gateway = address;
    if (message === "administration address serving") at.admin = address;
    return at.gateway !== undefined && at.admin !== undefined;
  });
  const port = at.gateway.split(":").at(-1);
  const plugin = `http://app.localhost:${port}/plugins/face-scan`;
  return {
    lines,
    plugin,
    at: (path) => new URL(path, plugin).href,
    /** The same by its number, for who is no browser: not every system knows names below localhost. */
    byNumber: (path) => `http://127.0.0.1:${port}${path}`,
    /** An address below the administration address. */
    admin: (path) => `http://${at.admin}${path}`,
    ready: () => ask(`http://${at.admin}/readyz`),
    /** Opens the plug-in as a program would. */
    async open(token) {
      const { status, headers, text } = await ask(plugin, { headers: { authorization: `Bearer ${token}` } });
      return { status, location: headers.location, problem: text && JSON.parse(text).type.split("/").at(-1) };
    },
    /** `valet explain` of a token, with the same configuration. */
    async explain(token) {
      const explain = child(spawn(VALET, ["explain", "--config", config, "/plugins/face-scan"]));
      explain.stdin.end(token);
      const [out, err, [code]] = await Promise.all([text(explain.stdout), text(explain.stderr), once(explain, "exit")]);
      return { code, out, err };
    },
    async stop() {
      await stop();
      await remove();
    },
  };
}

const toml = ({ issuer, vendor, login, origins, token, tables }) => `
[server]
public_url = "http://app.localhost"

[[listener]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"
${token ? 'token = { file = "admin.token" }' : ""}

[session]
login_url = "${login}"

[[session.issuer]]
${issuer}

[[provider]]
name = "simulated"
preset = "intelliprove-v2"
base_url = "${vendor}"
api_key = { file = "vendor.key" }
redirect_hosts = ["127.0.0.1"]

[[plugin]]
name = "face-scan"
provider = "simulated"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
allowed_origins = ${JSON.stringify(origins)}
${tables}
`;
