// What the tests share: a browser, a demo that runs, a visit to its page.
//
// Nothing here waits for a time: it waits for what is to be seen, and gives up after a time at which it surely hangs.
import assert from "node:assert/strict";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { createServer } from "node:http";
import { delimiter, join } from "node:path";

import sparticuz from "@sparticuz/chromium";
import { chromium } from "playwright-core";

import { opened } from "./opened.mjs";
import { program } from "./program.mjs";

const HANG = 30_000;

/** The browser: the one that VALET_CHROMIUM names, the system's, or the one of the package. */
async function executable() {
  if (process.env.VALET_CHROMIUM) return process.env.VALET_CHROMIUM;
  const folders = (process.env.PATH ?? "").split(delimiter);
  for (const name of ["chromium", "chromium-browser", "google-chrome-stable"]) {
    for (const folder of folders) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not there.
      }
    }
  }
  return sparticuz.executablePath();
}

/**
 * A headless browser. The package's own arguments are left out: they switch off what is tested here, the same-origin policy and the
 * isolation of sites. Chromium's sandbox does not start as root.
 */
export async function launch(args = []) {
  const browser = await chromium.launch({
    executablePath: await executable(),
    args: [...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), ...args],
  });
  opened("the browser", () => browser.close());
  return browser;
}

/** The first of five free ports in a row. */
export async function ports() {
  for (;;) {
    const first = 12_000 + Math.floor(Math.random() * 18_000);
    const servers = Array.from({ length: 5 }, () => createServer());
    const listening = servers.map((server, i) => once(server.listen(first + i, "127.0.0.1"), "listening"));
    const all = await Promise.allSettled(listening);
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    if (all.every(({ status }) => status === "fulfilled")) return first;
  }
}

/** `valet demo` on this port and the four behind it, or on free ones, until `stop`. `words`: what else the command line says. */
export async function demo(port = 0, words = []) {
  const { lines, stop } = await program(["demo", "--port", String(port), "--no-open", ...words], (line) => line.includes("Ctrl-C"));
  const find = (what) => lines.find((line) => line.includes(what)).match(/http:\/\/\S+/)[0];
  return {
    app: find("Open in a browser"),
    /** The app past the gateway. */
    upstream: find("the app behind it"),
    idp: `http://idp.localhost:${new URL(find("simulated IdP")).port}`,
    lines,
    stop,
  };
}

/** A page of a foreign site, which serves what it is told to. Requests for /favicon.ico get nothing. */
export async function site(pages) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push({ url: request.url, headers: request.headers });
    const page = pages[request.url.split("?")[0]];
    // Some browsers ask for the icon of a page that names none; the console of the test is to stay quiet.
    if (page === undefined) return void response.writeHead(request.url === "/favicon.ico" ? 204 : 404).end();
    const { headers = {}, body, status = 200 } = typeof page === "string" ? { body: page } : page;
    response.writeHead(status, { "content-type": "text/html; charset=utf-8", ...headers }).end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    requests,
    port: server.address().port,
    at: (host) => `http://${host}:${server.address().port}`,
    stop: stopping(server),
  };
}

/** What stops an HTTP server of a test. */
export function stopping(server) {
  return opened("an HTTP server", () => new Promise((done) => (server.closeAllConnections(), server.close(done))));
}

/**
 * A browser's window with storage of its own, and what its console says. At the end each error there must be one that the test expected:
 * a browser logs each answer that is no success.
 */
export async function visit(browser, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(HANG);
  const complaints = [];
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  const page = await context.newPage();
  const close = opened("a window", () => context.close(), { forThisTest: true });
  return {
    context,
    page,
    complaints,
    async end(...expected) {
      await close();
      const others = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
      assert.deepEqual(others, [], "the console is quiet");
    },
  };
}

/** From the app's page through the identity provider and back. */
export async function signIn(page, demo, name = "Ada") {
  if (!page.url().startsWith(demo.app)) await page.goto(demo.app);
  await page.locator("#sign-in").click();
  await page.getByRole("button", { name: `Continue as ${name}` }).click();
  await page.locator("#who", { hasText: name }).waitFor();
}

/** A counter on the page, once the page knows it. */
export async function counter(page, name) {
  return Number(await page.locator(`[data-counter="${name}"]`, { hasText: /^\d+$/ }).first().textContent());
}

/** Waits until a counter on the page shows this. */
export async function counted(page, name, value) {
  await page.locator(`[data-counter="${name}"]`, { hasText: new RegExp(`^${value}$`) }).first().waitFor();
}

/** The plug-in in the app's frame. */
export function plugin(page) {
  return page.frameLocator("#plugin");
}

/** Opens the face scan and waits until the plug-in's page is there. */
export async function scan(page, button = "#scan") {
  await page.locator(button).click();
  await plugin(page).locator("#continue").waitFor();
}

/**
 * Takes back the hand. What was pressed may take away the frame that it is in before the release has come there, and then the browser never says
 * that it came: its effect is to be waited for, and not its arrival.
 */
export function release(arrival) {
  // A window that is closed meanwhile hears nothing any more.
  arrival.catch(() => {});
}

/**
 * Clicks something in a frame. Where a page has just scrolled, as it does to show what is to be clicked, the browser may still give the mouse
 * to the page around a frame of another site, and a `click()` that never arrived counts as done. And a `click()` that removes its frame may
 * wait for another one. So the mouse is moved until the frame has noticed it, and is then pressed where it is.
 */
export async function clickInside(page, target) {
  const noticed = () => target.evaluate((element) => element.matches(":hover"));
  const end = performance.now() + HANG;
  do {
    assert.ok(performance.now() < end, "the frame never noticed the mouse");
    await target.hover();
  } while (!(await noticed()));
  await page.mouse.down();
  release(page.mouse.up());
}

/** Clicks through the scan that is open, and waits until the app has closed it. */
export async function complete(page) {
  await clickInside(page, plugin(page).locator("#continue:enabled"));
  await page.locator("#done").waitFor();
}

/** The plug-in's frame itself, to look into. */
export async function frame(page) {
  const handle = await page.locator("#plugin").elementHandle();
  return handle.contentFrame();
}
