// Tests that end badly leave nothing behind, and end.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { until } from "./ask.mjs";
import { child } from "./opened.mjs";

const FILE = fileURLToPath(new URL("fixtures/unfinished.mjs", import.meta.url));

/** Processes that have this in their environment. */
function processesWith(mark) {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
    } catch {
      // It has ended.
      return false;
    }
  });
}

describe("tests that end badly", { skip: !existsSync("/proc/self/environ") && "this system has no /proc" }, () => {
  /** The file of tests, once all is open. */
  async function unfinished(how) {
    const mark = randomUUID();
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const run = child(spawn(process.execPath, [FILE, how], { env: { ...env, MARK: mark }, stdio: ["ignore", "ignore", "pipe"] }));
    const ended = once(run, "exit");
    for await (const line of createInterface({ input: run.stderr })) if (line.includes("all is open")) break;
    return { run, ended, left: () => processesWith(mark) };
  }

  test("a test that fails with a browser, a demo and a server open: the file ends, and so does all that it started", async () => {
    const { ended, left } = await unfinished("fails");
    const [code] = await ended;
    assert.equal(code, 1);
    await until("all has ended", () => left().length === 0);
  });

  test("a run that is ended from outside takes with it all that it started", async () => {
    const { run, ended, left } = await unfinished("hangs");
    assert.ok(left().length > 2, "the file, the demo and a browser run");
    run.kill("SIGTERM");
    const [code] = await ended;
    assert.equal(code, 1);
    await until("all has ended", () => left().length === 0);
  });
});
