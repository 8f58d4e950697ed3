// What a file of tests has opened: processes, servers, browsers, folders. All of it is closed when the tests are over, however they ended: one
// that is left keeps the file's process alive. And a file has a bound: what takes longer hangs, and says what was open.
import { after, afterEach } from "node:test";

/** No file takes a quarter of it where other work keeps the machine busy. */
const BOUND = 600_000;

/** Closes by what they close, oldest first. */
const open = new Map();
const processes = new Set();

/** Notes what has been opened. The result closes it, once; what nobody has closed is closed behind the last test, or behind this one. */
export function opened(what, close, { forThisTest = false } = {}) {
  const once = async () => {
    if (open.delete(once)) await close();
  };
  open.set(once, { what, forThisTest });
  return once;
}

/** A child process, which never outlives this one. */
export function child(process) {
  processes.add(process);
  process.once("exit", () => processes.delete(process));
  return process;
}

async function closeAll(wanted) {
  for (const [close, note] of [...open].reverse()) {
    // The test has failed, or has told already what is wrong with it.
    if (wanted(note)) await close().catch(() => {});
  }
}

afterEach(() => closeAll((note) => note.forThisTest));
after(async () => {
  await closeAll(() => true);
  for (const process of processes) process.kill("SIGKILL");
});

process.once("exit", () => {
  for (const process of processes) process.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

setTimeout(() => {
  console.error(`the tests of this file did not end within ${BOUND / 1000} s; open: ${[...open.values()].map(({ what }) => what).join(", ")}`);
  process.exit(1);
}, BOUND).unref();
