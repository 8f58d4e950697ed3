// One HTTP request of a test, and waiting for what is to be seen.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";

const HANG = 30_000;

/** Asks loopback whatever name the address has, for not every system resolves names below localhost. Follows no redirect. */
export async function ask(url, { method = "GET", headers = {}, body } = {}) {
  const { host, port, pathname, search } = new URL(url);
  const form = body && { "content-type": "application/x-www-form-urlencoded" };
  const call = request({
    host: "127.0.0.1",
    port,
    path: pathname + search,
    method,
    headers: { host, ...form, ...headers },
    signal: AbortSignal.timeout(HANG),
  });
  call.end(body && new URLSearchParams(body).toString());
  const [answer] = await once(call, "response");
  return { status: answer.statusCode, headers: answer.headers, text: await text(answer) };
}

/** The same, of an answer that must be a success in JSON. */
export async function told(url, options) {
  const answer = await ask(url, options);
  assert.equal(answer.status, 200, `${url}: ${answer.text}`);
  return JSON.parse(answer.text);
}

/** Waits until it holds, and gives up after a time at which it surely hangs. */
export async function until(what, holds) {
  const end = Date.now() + HANG;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `still waiting: ${what}`);
    await pause(20);
  }
}

/** Both readable parts of a JWT, not verified. */
export function read(token) {
  const [header, claims] = token.split(".").map((part) => Buffer.from(part, "base64url").toString());
  return { header: JSON.parse(header), claims: JSON.parse(claims) };
}
