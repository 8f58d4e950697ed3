// The program under test as a process.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

import { child, opened } from "./opened.mjs";

export const VALET = resolve(process.env.VALET ?? "target/debug/valet");

/** Longer than it takes to end, whatever it waits for; what takes longer hangs. */
const HANG = 30_000;

/** `valet WORDS`, until `stop`. `found` gets each line of it and says whether it was the last that the start needs. */
export async function program(words, found) {
  const process = child(spawn(VALET, words, { stdio: ["ignore", "pipe", "pipe"] }));
  const lines = [];
  const ended = new Promise((done) => process.once("exit", (code, signal) => done(code ?? signal)));
  await new Promise((done, fail) => {
    process.once("error", fail);
    ended.then((code) => fail(new Error(`valet ${words[0]} ended with ${code}: ${lines.join("\n")}`)));
    for (const stream of [process.stdout, process.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        if (found(line)) done();
      });
    }
  });
  const stop = opened(`valet ${words.join(" ")}`, async () => {
    process.kill("SIGTERM");
    const late = setTimeout(() => process.kill("SIGKILL"), HANG);
    const code = await ended;
    clearTimeout(late);
    assert.equal(code, 0, lines.join("\n"));
  });
  return { lines, stop };
}
