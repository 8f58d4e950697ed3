// The operators' page of the administration address.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";

import { gateway, idp, vendor } from "./gateway.mjs";
import { launch, visit } from "./kit.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "the-token-of-the-browser-tests";

describe("the operators' page", () => {
  let browser, sold, signs, valet;
  before(async () => {
    [browser, sold, signs] = await Promise.all([launch(), vendor(), idp()]);
    valet = await gateway({ issuer: signs.issuer, vendor: sold.address, token: TOKEN });
    for (const user of ["ada", "ada", "grace"]) assert.equal((await valet.open(await signs.token(user))).status, 302);
    await valet.open("nonsense");
  });
  after(async () => {
    await browser?.close();
    await Promise.all([valet?.stop(), sold?.stop(), signs?.stop()]);
  });

  const open = async (options = {}) => {
    const { page, end } = await visit(browser, options);
    await page.goto(valet.admin("/"));
    await page.locator("#state.good").waitFor();
    await page.locator("#refused tbody th").first().waitFor();
    return { page, end };
  };
  const admit = async (page) => {
    await page.getByLabel("Token of [admin]").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("#mints tbody th").first().waitFor();
  };

  for (const colorScheme of ["light", "dark"]) {
    test(`axe finds nothing wrong, ${colorScheme}`, async () => {
      const { page, end } = await open({ colorScheme, bypassCSP: true });
      await admit(page);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => `${target}`)]), []);
      await page.locator("#reload").click();
      await page.locator("#sure[open]").waitFor();
      const inside = await page.evaluate(() => axe.run("#sure", { resultTypes: ["violations"] }));
      assert.deepEqual(inside.violations.map(({ id }) => id), []);
      await end();
    });
  }

  test("it says what happened, and goes on saying it without being loaded again", async () => {
    const { page, end } = await open();
    assert.match(await page.locator("#refused").innerText(), /unauthenticated\s+face-scan\s+1/);
    assert.match(await page.locator("#vendors").innerText(), /simulated\s+well\s+2/);
    assert.match(await page.locator("#sources").innerText(), /held: 1/);
    assert.match(await page.locator("#life svg").getAttribute("aria-label"), /^Of 3 URLs: 100 % had 3 h – 6 h/);
    await valet.open("more nonsense");
    await page.locator("#refused td", { hasText: /^2$/ }).waitFor();
    await end();
  });

  test("the token is kept in memory only, and a wrong one does nothing", async () => {
    const { page, end } = await open();
    await page.getByLabel("Token of [admin]").fill("a wrong one");
    await page.keyboard.press("Enter");
    await page.locator("#said", { hasText: "not the one" }).waitFor();
    assert.equal(await page.locator("#tools").isVisible(), false);
    await admit(page);
    const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, document.documentElement.outerHTML]);
    assert.deepEqual(kept.slice(0, 3), [0, 0, ""]);
    assert.ok(!kept[3].includes(TOKEN));
    await page.reload();
    await page.locator("#state.good").waitFor();
    assert.equal(await page.locator("#tools").isVisible(), false);
    await end(/status of 401/);
  });

  test("leases are dropped by keyboard, after a question", async () => {
    const { page, end } = await open();
    await admit(page);
    const held = async () => (await (await fetch(valet.admin("/api/leases"), { headers: { authorization: `Bearer ${TOKEN}` } })).json()).held;
    const before = await held();
    await page.getByLabel("Its name").fill("ada");
    await page.getByRole("button", { name: "Drop leases" }).press("Enter");
    await page.locator("#sure[open]").waitFor();
    // The harmless answer has the focus.
    await page.keyboard.press("Enter");
    await page.locator("#sure:not([open])").waitFor({ state: "attached" });
    assert.equal(await held(), before);
    await page.getByRole("button", { name: "Drop leases" }).press("Enter");
    await page.locator("#sure[open]").waitFor();
    await page.locator("#sure-yes").press("Enter");
    await page.locator("#said", { hasText: "Dropping leases: done" }).waitFor();
    assert.equal(await held(), before - 1);
    await end();
  });

  test("a phone's width is enough", async () => {
    const { page, end } = await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await admit(page);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
    for (const button of await page.locator("button:visible").all()) {
      const { height } = await button.boundingBox();
      assert.ok(height >= 44, `${await button.textContent()}: ${height} px are too few for a thumb`);
    }
    await end();
  });

  test("a node that is gone is told, and drains when it is asked to", async () => {
    const { page, end } = await open();
    await admit(page);
    await page.locator("#drain").click();
    await page.locator("#sure-yes").click();
    await page.locator("#state.bad", { hasText: /Not ready|does not answer/ }).waitFor();
    await page.locator("#state.bad", { hasText: "does not answer" }).waitFor();
    await end(/ERR_CONNECTION_REFUSED|status of 503|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/);
  });
});
