// What a person sees when something is wrong, and that it ends.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { clickInside, complete, counted, counter, demo, frame, launch, plugin, ports, scan, signIn, visit } from "./kit.mjs";

/** What the browser itself says of an answer that is no success. */
const NO_SUCCESS = /Failed to load resource: the server responded with a status of (401|502|503|504)/;

describe("faults", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  const trouble = async (page, name) => {
    await page.locator(`[data-trouble="${name}"]`).click();
    await page.locator(`[data-trouble="${name}"][aria-pressed="true"]`).waitFor();
  };

  // The words that a person reads, and the outcome in the log.
  for (const [name, heading, outcome] of [
    ["slow", "The provider did not answer in time.", "504 provider_timeout"],
    ["unreachable", "The provider can't be used right now.", "502 provider_error"],
    ["foreign", "The provider can't be used right now.", "502 provider_error"],
    ["busy", "The provider is busy.", "503 provider_busy"],
  ]) {
    test(`the vendor is ${name}: a held link goes on, else there is a page that one understands`, async () => {
      const { page, end } = await visit(browser);
      await signIn(page, valet);
      await scan(page);
      await trouble(page, name);
      await page.locator("#hint").waitFor();

      const held = await counter(page, "hit");
      await scan(page);
      await counted(page, "hit", held + 1);
      await complete(page);

      await page.locator("#again").click();
      const refusal = plugin(page).getByRole("heading");
      await refusal.waitFor();
      assert.equal(await refusal.textContent(), heading);
      const text = await plugin(page).locator("body").innerText();
      assert.match(text, /try again/i, "it says what to do");
      assert.doesNotMatch(text, /\b(undefined|null|upstream|exception|mint|lease|token)\b|localhost|127\.0\.0\.1/i, "in a person's words");
      await page.locator("#requests td.bad", { hasText: outcome }).first().waitFor();
      // The line may be an earlier fault's, which the feed tells again: this one's is what the picture waits for.
      await page.locator('#path [data-step="vendor"][data-state="failed"]').waitFor();
      assert.match(await page.locator("#story").textContent(), /handed out nothing/);

      await trouble(page, "none");
      // A failure is remembered for a moment, and a vendor that asked for a pause gets it.
      await page.locator("#expire").click();
      await page.locator("#hint", { hasText: "every link has ended" }).waitFor();
      await scan(page, "#again");
      await complete(page);
      await end(NO_SUCCESS);
    });
  }

  test("a link that has ended is never handed out again", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    const old = (await frame(page)).url();
    const asked = await counter(page, "asked");
    await page.locator("#expire").click();
    await page.locator("#hint", { hasText: "every link has ended" }).waitFor();
    await scan(page);
    await counted(page, "asked", asked + 1);
    assert.notEqual((await frame(page)).url(), old);
    await page.goto(old);
    await page.getByRole("heading", { name: "This link has expired" }).waitFor();
    await end(/status of 4\d\d/);
  });

  test("a new key of the identity provider: old sessions go on, new ones are taken", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet, "Ada");
    await page.locator("#rotate").click();
    await page.locator("#hint", { hasText: "signs with a new key" }).waitFor();
    await scan(page);
    await page.locator("#log-out").click();
    await page.locator("#sign-in").waitFor();
    await signIn(page, valet, "Grace");
    await scan(page);
    assert.equal(await plugin(page).locator("#patient").textContent(), "grace");
    await end();
  });

  test("a session that ends while the page is open: the app and the frame both say so, and lead to a sign-in and back", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const cookie = (await page.context().cookies()).find(({ name }) => name === "session");
    // Its signature is good; its time is over when the clock has moved.
    for (let hours = 6; hours <= 24; hours += 6) {
      await page.locator("#expire").click();
      await page.locator("#hint", { hasText: "ahead" }).waitFor();
    }
    await page.locator("#welcome", { hasText: "Your session has ended" }).waitFor();
    await page.locator("#sign-in").waitFor();

    // A page that has not noticed, with a frame.
    await page.context().addCookies([cookie]);
    await page.evaluate((src) => {
      const frame = document.createElement("iframe");
      frame.id = "stale";
      frame.src = src;
      document.body.append(frame);
    }, `${valet.app}/plugins/face-scan`);
    const stale = page.frameLocator("#stale");
    await stale.getByRole("link").waitFor();
    assert.match(await stale.locator("body").innerText(), /sign in/i);
    assert.equal(await stale.getByRole("link").getAttribute("target"), "_top", "the whole page signs in, not the frame");
    await clickInside(page, stale.getByRole("link"));
    await page.getByRole("button", { name: "Continue as Ada" }).click();
    await page.locator("#who", { hasText: "Ada" }).waitFor();
    await scan(page);
    assert.equal(await plugin(page).locator("#patient").textContent(), "ada");
    await end(NO_SUCCESS);
  });

  test("without a session a navigation to the plug-in leads through the sign-in", async () => {
    const { page, end } = await visit(browser);
    await page.goto(`${valet.app}/plugins/health-dashboard`);
    await page.getByRole("button", { name: "Continue as Grace" }).click();
    await page.getByRole("heading", { name: "Health dashboard" }).waitFor();
    assert.equal(await page.locator("#patient").textContent(), "grace");
    await end();
  });

  test("the demo ends with a page open: the page says so, and goes on by itself when it is back", async () => {
    const port = await ports();
    const first = await demo(port);
    const { page, end } = await visit(browser);
    await signIn(page, first);
    await scan(page);
    await page.locator("#line-state", { hasText: /^live$/ }).waitFor();
    await first.stop();
    await page.locator("#line-state", { hasText: "can’t be reached" }).waitFor();

    const second = await demo(port);
    await page.locator("#line-state", { hasText: /^live$/ }).waitFor();
    // It has other keys: her session is no good, and that keeps nobody from signing in.
    await page.locator("#welcome", { hasText: "Your session has ended" }).waitFor();
    assert.equal(await page.locator("#hint").isVisible(), false, "it has another key than the first, and nobody has changed it");
    await signIn(page, second);
    await scan(page);
    await counted(page, "minted", 1);
    await end(/ERR_CONNECTION_REFUSED/, /status of (401|503)/);
    await second.stop();
  });
});
