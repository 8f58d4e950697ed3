// How the pages look: contrast and names (axe), a phone's width, less motion, dark and light, nothing from elsewhere.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";

import { complete, counted, counter, demo, launch, plugin, scan, signIn, visit } from "./kit.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

describe("looks", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  /** What axe finds wrong, in each frame. */
  const faults = async (page) => {
    const found = [];
    for (const inside of page.frames()) {
      await inside.evaluate(axe);
      const { violations } = await inside.evaluate(() => axe.run(document, { resultTypes: ["violations"], iframes: false }));
      found.push(...violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`)));
    }
    return found;
  };

  for (const colorScheme of ["light", "dark"]) {
    test(`axe finds nothing wrong, ${colorScheme}`, async () => {
      // Its script is put into pages whose policy forbids that.
      const { page, end } = await visit(browser, { colorScheme, bypassCSP: true, reducedMotion: "reduce" });
      await page.goto(valet.app);
      await page.locator("#sign-in").waitFor();
      assert.deepEqual(await faults(page), [], "signed out");
      await page.locator("#sign-in").click();
      await page.getByRole("button", { name: "Continue as Ada" }).waitFor();
      assert.deepEqual(await faults(page), [], "the sign-in");
      await page.goto(`${valet.idp}/authorize`);
      assert.deepEqual(await faults(page), [], "a sign-in that can't go on");
      await page.goto(valet.app);
      await signIn(page, valet);
      const opened = await counter(page, "opened");
      await scan(page);
      await counted(page, "opened", opened + 1);
      await plugin(page).locator("#continue:enabled").waitFor();
      assert.deepEqual(await faults(page), [], "a scan");
      await complete(page);
      assert.deepEqual(await faults(page), [], "a scan that is complete");
      await page.locator("#dashboard").click();
      await plugin(page).getByRole("heading", { name: "Health dashboard" }).waitFor();
      assert.deepEqual(await faults(page), [], "the dashboard");
      await page.locator('[data-trouble="foreign"]').click();
      await page.locator("#hint").waitFor();
      await page.locator("#again").click();
      await plugin(page).getByRole("heading", { name: "The provider can't be used right now." }).waitFor();
      await page.locator("#requests td.bad").first().waitFor();
      assert.deepEqual(await faults(page), [], "a refusal");
      await page.locator('[data-trouble="none"]').click();
      await page.locator('[data-trouble="none"][aria-pressed="true"]').waitFor();
      await page.locator("#log-out").click();
      await signIn(page, valet, "Sam");
      await page.locator("#dashboard").click();
      await plugin(page).getByRole("heading").waitFor();
      await page.locator("#requests td.bad", { hasText: "403" }).first().waitFor();
      assert.deepEqual(await faults(page), [], "a refusal by policy");
      await page.locator("#sign-out").click();
      await page.locator("#old-session").click();
      await plugin(page).getByRole("heading").waitFor();
      await page.locator("#requests td.bad", { hasText: "401" }).first().waitFor();
      assert.deepEqual(await faults(page), [], "signed out everywhere");
      await end(/status of (400|401|403|502)/);
    });
  }

  test("a phone's width is enough", async () => {
    const { page, end } = await visit(browser, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await page.goto(valet.app);
    await page.locator("#sign-in").waitFor();
    assert.equal(await wide(), 0, "signed out");
    await signIn(page, valet, "Grace");
    await scan(page);
    assert.equal(await wide(), 0, "a scan");
    const box = await page.locator("#plugin").boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 360, JSON.stringify(box));
    await complete(page);
    await page.locator("#tabs").click();
    await page.locator("#tabs-result").waitFor();
    assert.equal(await wide(), 0, "a full log");
    const thumbs = async () => {
      for (const button of await page.locator("button:visible, a.button:visible").all()) {
        const { height } = await button.boundingBox();
        assert.ok(height >= 44, `${await button.textContent()}: ${height} px are too few for a thumb`);
      }
    };
    await thumbs();
    await page.locator("#sign-out").click();
    await page.locator("#old-session").waitFor();
    assert.equal(await wide(), 0, "signed out everywhere");
    await thumbs();
    await end();
  });

  test("who wants less motion gets none", async () => {
    const moving = async (reducedMotion) => {
      const { page, end } = await visit(browser, { reducedMotion });
      await signIn(page, valet);
      await page.evaluate(() => {
        window.moved = 0;
        for (const kind of ["animationstart", "transitionstart"]) addEventListener(kind, () => (window.moved += 1), true);
      });
      await scan(page);
      await page.locator("#requests tbody tr").first().waitFor();
      await plugin(page).locator(".recording").waitFor();
      const inside = await plugin(page).locator(".beam").evaluate((beam) => beam.getAnimations().length);
      const moved = await page.evaluate(() => window.moved);
      await end();
      return [moved > 0, inside > 0];
    };
    assert.deepEqual(await moving("no-preference"), [true, true], "else there is some, so this would be noticed");
    assert.deepEqual(await moving("reduce"), [false, false]);
  });

  test("dark is dark and light is light, in the frame too", async () => {
    const ground = async (colorScheme) => {
      const { page, end } = await visit(browser, { colorScheme });
      await signIn(page, valet);
      await scan(page);
      const colour = (body) => getComputedStyle(body).backgroundColor.match(/\d+/g).reduce((sum, part) => sum + Number(part), 0) / 3;
      const grounds = [await page.locator("body").evaluate(colour), await plugin(page).locator("body").evaluate(colour)];
      await end();
      return grounds;
    };
    for (const shade of await ground("light")) assert.ok(shade > 200, `${shade}`);
    for (const shade of await ground("dark")) assert.ok(shade < 60, `${shade}`);
  });

  test("nothing comes from elsewhere", async () => {
    const { page, end } = await visit(browser);
    const hosts = new Set();
    page.on("request", (request) => hosts.add(new URL(request.url()).hostname));
    await signIn(page, valet);
    await scan(page);
    await page.locator("#dashboard").click();
    await plugin(page).getByRole("heading", { name: "Health dashboard" }).waitFor();
    assert.deepEqual([...hosts].sort(), ["app.localhost", "idp.localhost", "plugin.localhost"]);
    await end();
  });
});
