// Back, forward and reload.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { complete, counted, counter, demo, launch, plugin, scan, signIn, visit } from "./kit.mjs";

describe("back, forward, reload", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  test("the page reloaded gives a working scan", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    await page.reload();
    await page.locator("#scan").waitFor();
    const hits = await counter(page, "hit");
    await scan(page);
    await counted(page, "hit", hits + 1);
    await complete(page);
    await end();
  });

  test("away and back, and forward and back, gives a working scan", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    await page.goto(`${valet.idp}/.well-known/openid-configuration`);
    await page.goBack();
    await page.locator("#scan").waitFor();
    await scan(page);
    await complete(page);
    await page.goForward();
    assert.ok(page.url().startsWith(valet.idp), page.url());
    await page.goBack();
    await page.locator("#scan").waitFor();
    await scan(page, "#again");
    await complete(page);
    await end();
  });

  test("several scans are no steps: back leaves the page at once", async () => {
    const { page, end } = await visit(browser);
    await page.goto(`${valet.idp}/.well-known/openid-configuration`);
    await signIn(page, valet);
    await scan(page);
    await scan(page, "#again");
    await page.locator("#dashboard").click();
    await plugin(page).getByRole("heading", { name: "Health dashboard" }).waitFor();
    await page.goBack();
    assert.ok(!page.url().startsWith(valet.app) || page.url().includes("/callback"), page.url());
    await end();
  });

  test("a frame that is reloaded alone goes through the gateway again", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    const hits = await counter(page, "hit");
    await page.evaluate(() => {
      const frame = document.querySelector("#plugin");
      frame.src = frame.src;
    });
    await counted(page, "hit", hits + 1);
    await complete(page);
    await end();
  });

  test("a scan in a tab of its own: back and forward work too", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await page.goto(`${valet.app}/plugins/face-scan`);
    await page.locator("#continue").waitFor();
    await page.goBack();
    await page.locator("#scan").waitFor();
    await page.goForward();
    await page.locator("#continue:enabled").waitFor();
    await end();
  });

  test("who comes back to a page after logging out elsewhere is not shown as signed in", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await page.goto(`${valet.idp}/.well-known/openid-configuration`);
    await page.context().clearCookies();
    await page.goBack();
    await page.locator("#sign-in").waitFor();
    assert.equal(await page.locator("#signed-in").isHidden(), true);
    await end();
  });
});
