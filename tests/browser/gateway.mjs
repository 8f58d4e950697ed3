// `valet run` with a configuration of the test's own, and the simulated vendor behind it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

import { ask, told } from "./ask.mjs";

const VALET = resolve(process.env.VALET ?? "target/debug/valet");
const API_KEY = "test-key-of-the-browser-tests";

/** The program, until `stop`. `found` gets each line and says whether it was the last that the start needs. */
async function program(words, found) {
  const child = spawn(VALET, words, { stdio: ["ignore", "pipe", "pipe"] });
  // Tests that end badly leave nothing running.
  process.once("exit", () => child.kill("SIGKILL"));
  const lines = [];
  const ended = new Promise((done) => child.once("exit", done));
  await new Promise((done, fail) => {
    child.once("error", fail);
    ended.then((code) => fail(new Error(`valet ${words[0]} ended with ${code}: ${lines.join("\n")}`)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        if (found(line)) done();
      });
    }
  });
  return {
    lines,
    async stop() {
      child.kill("SIGTERM");
      assert.equal(await ended, 0, lines.join("\n"));
    },
  };
}

/** `valet simulate provider` on a free port. */
export async function vendor() {
  let address;
  const { stop } = await program(["simulate", "provider", "--listen", "127.0.0.1:0", "--api-key", API_KEY], (line) => {
    address ??= line.match(/^Listening\s+(\S+)/)?.[1];
    return line.includes("Ctrl-C");
  });
  return { address, stop };
}

/** `valet simulate idp` on a free port. */
export async function idp() {
  let address;
  const { stop } = await program(["simulate", "idp", "--listen", "127.0.0.1:0", "--audience", "my-app"], (line) => {
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
 * the JSON.
 */
export async function gateway({ issuer, vendor, login = "/login", origins = [] }) {
  const folder = await mkdtemp(join(tmpdir(), "valet-oidc-"));
  const config = join(folder, "valet.toml");
  await writeFile(join(folder, "vendor.key"), API_KEY, { mode: 0o600 });
  await writeFile(config, toml({ issuer, vendor, login, origins }));
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
    ready: () => ask(`http://${at.admin}/readyz`),
    /** Opens the plug-in as a program would. */
    async open(token) {
      const { status, headers, text } = await ask(plugin, { headers: { authorization: `Bearer ${token}` } });
      return { status, location: headers.location, problem: text && JSON.parse(text).type.split("/").at(-1) };
    },
    /** `valet explain` of a token, with the same configuration. */
    async explain(token) {
      const child = spawn(VALET, ["explain", "--config", config, "/plugins/face-scan"]);
      child.stdin.end(token);
      const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
      return { code, out, err };
    },
    async stop() {
      await stop();
      await rm(folder, { recursive: true });
    },
  };
}

const toml = ({ issuer, vendor, login, origins }) => `
[server]
public_url = "http://app.localhost"

[[listener]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

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
`;
