// What one shows to a colleague: the walk through the demo, by mouse and by keyboard.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { clickInside, complete, counted, counter, demo, launch, plugin, release, scan, signIn, visit } from "./kit.mjs";

const STAGES = ["StartNewMeasurement", "RecordingStarted", "RecordingStopped", "FaceScanSuccessful", "Dismiss"];

const HOLDERS = {
  "in one process": [[], [/^gateway, process \d+: holds the key$/]],
  "in two": [["--split"], [/^edge, process \d+: no key$/, /^minter, process \d+: holds the key$/]],
};

for (const [where, [words, holders]] of Object.entries(HOLDERS)) describe(`the walk, ${where}`, () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo(0, words)]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  const stages = (page) => page.locator("#messages li code").allTextContents();
  /** Waits until the picture of the last request shows these states. The access line comes behind the counters. */
  const shown = (page, states) =>
    Promise.all(Object.entries(states).map(([name, state]) => page.locator(`#path [data-step="${name}"][data-state="${state}"]`).waitFor()));
  const story = (page, pattern) => page.locator("#story", { hasText: pattern }).waitFor();

  test("one signs in, scans, scans again, looks at the dashboard, and comes back as the other", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet, "Ada");
    await story(page, /verified just now.*told the app who you are/);
    await shown(page, { session: "valid", link: "idle", vendor: "not-asked" });

    await scan(page);
    await counted(page, "minted", 1);
    await shown(page, { session: "cached", link: "minted", vendor: "asked" });
    await story(page, /verified before.*asked the vendor with the API key.*302/);
    assert.equal(await plugin(page).locator("#patient").textContent(), "ada");
    await complete(page);
    assert.deepEqual(await stages(page), STAGES);
    assert.equal(await page.locator("#done-title").textContent(), "Scan complete");
    assert.equal(await page.locator("#plugin").count(), 0, "the app closes the plug-in when it says so");

    await scan(page);
    await counted(page, "hit", 1);
    await shown(page, { session: "cached", link: "hit", vendor: "not-asked" });
    assert.equal(await counter(page, "asked"), 1, "a link that is held costs no call");
    await clickInside(page, plugin(page).locator("#quit"));
    await page.locator("#done-title", { hasText: "Scan ended" }).waitFor();
    assert.deepEqual((await stages(page)).at(-1), "Dismiss");
    assert.ok(!(await stages(page)).includes("FaceScanSuccessful"));

    await scan(page, "#again");
    await counted(page, "minted", 2);
    await complete(page);
    assert.deepEqual(await stages(page), STAGES);

    await page.locator("#dashboard").click();
    await plugin(page).getByRole("heading", { name: "Health dashboard" }).waitFor();
    await counted(page, "asked", 3);

    await page.locator("#log-out").click();
    await page.locator("#sign-in").waitFor();
    assert.equal(await page.locator("#plugin").count(), 0, "nothing of her stays on the page");
    assert.equal((await page.context().cookies(valet.app)).find((cookie) => cookie.name === "session"), undefined);

    await signIn(page, valet, "Grace");
    await scan(page);
    assert.equal(await plugin(page).locator("#patient").textContent(), "grace");
    await counted(page, "asked", 4);
    await end();
  });

  test("the page says what was cached, what the vendor was asked, and where the key was", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const [asked, hits] = [await counter(page, "asked"), await counter(page, "hit")];
    await scan(page);
    await counted(page, "asked", asked + 1);
    await scan(page);
    await counted(page, "hit", hits + 1);
    await story(page, /held your link already, so the vendor was not asked/);
    const said = await page.locator(".processes strong").allTextContents();
    assert.equal(said.length, holders.length);
    for (const [i, holder] of holders.entries()) assert.match(said[i].trim(), holder);
    assert.equal(await page.locator(".processes .holder svg").count(), 1, "one key, where it is");
    assert.match(await page.locator('[data-step="browser"]').textContent(), /Never has the key/);
    const call = await page.locator("#calls li").first().textContent();
    assert.match(call, /Make a link.*GET \/v2\/plugin\/face-scan.*x-api-key: sim_….*200/);
    const row = await page.locator("#requests tbody tr").first().locator("td").allTextContents();
    assert.deepEqual(row.slice(1, 5), ["GET /plugins/face-scan", "cached", "hit", "302"]);
    const line = JSON.parse(await page.locator("#raw").textContent());
    assert.deepEqual([line.source, line.session_check, line.status], ["hit", "cached", 302]);
    await end();
  });

  test("the page says what the app received: who one is, and no credential", async () => {
    const { page, end } = await visit(browser);
    await page.goto(valet.app);
    await page.locator("#sign-in").waitFor();
    assert.equal(await page.locator("#received").isHidden(), true, "nobody, so nothing");
    for (const name of ["Ada", "Grace"]) {
      await signIn(page, valet, name);
      const fields = await page.locator("#fields li").evaluateAll((lines) => lines.map((line) => [...line.children].map(({ textContent }) => textContent)));
      assert.deepEqual(fields, [["x-auth-issuer", valet.idp], ["x-auth-name", name], ["x-auth-subject", name.toLowerCase()]]);
      assert.match(await page.locator("#credential").textContent(), /^No credential came/);
      const row = page.locator("#requests tbody tr", { hasText: /GET \/me\s*valid/ }).first();
      await row.waitFor();
      assert.deepEqual((await row.locator("td").allTextContents()).slice(1, 5), ["GET /me", "valid", "–", "200 forwarded"]);
      assert.equal(await row.locator("td.bad").count(), 0, "that is no fault");
      await page.locator("#log-out").click();
      await page.locator("#sign-in").waitFor();
      assert.equal(await page.locator("#received").isHidden(), true, "nothing of her stays on the page");
    }
    await end();
  });

  test("a visitor may scan and not see the dashboard, and the page shows which policy forbids it", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet, "Sam");
    await scan(page);
    const asked = await counter(page, "asked");
    await page.locator("#dashboard").click();
    await plugin(page).getByRole("heading", { name: "This is not permitted for your account." }).waitFor();
    await shown(page, { link: "failed", vendor: "not-asked" });
    await story(page, /policies don’t let this person open it: “dashboard-for-clinicians” forbids it/);
    const row = page.locator("#requests tbody tr", { hasText: "403 forbidden" }).first();
    await row.waitFor();
    assert.equal(await counter(page, "asked"), asked, "the vendor was not asked");
    await end(/403/);
  });

  test("one signs out everywhere: the link is dropped, and a session that is good for hours opens nothing", async () => {
    const { page, context, end } = await visit(browser);
    await signIn(page, valet, "Grace");
    await scan(page);
    const token = (await context.cookies(valet.app)).find((cookie) => cookie.name === "session").value;
    const [held, asked] = [await counter(page, "held"), await counter(page, "asked")];
    await page.locator("#sign-out").click();
    await page.locator("#old-session:focus").waitFor();
    assert.equal(await page.locator("#plugin").count(), 0, "nothing of her stays on the page");
    await story(page, /identity provider told Valet, by a signed logout token.*dropped the links/);
    await shown(page, { session: "revoked", link: "none", vendor: "not-asked" });
    await page.waitForFunction((before) => Number(document.querySelector('[data-counter="held"]').textContent) < before, held);

    await page.locator("#old-session").click();
    await plugin(page).getByRole("heading").waitFor();
    await shown(page, { session: "revoked", link: "none", vendor: "not-asked", browser: "failed" });
    await story(page, /ended by a sign-out, before its token ends\. Nothing was handed out/);
    const row = page.locator("#requests tbody tr", { hasText: "revoked" }).first();
    assert.deepEqual((await row.locator("td").allTextContents()).slice(1, 5), ["GET /plugins/face-scan", "revoked", "–", "401 unauthenticated"]);
    const kept = (await context.cookies(valet.app)).find((cookie) => cookie.name === "session").value;
    assert.ok(kept === token, "it is the same session that opened the scan before");
    assert.equal(await counter(page, "asked"), asked, "the vendor was not asked");

    await signIn(page, valet, "Ada");
    assert.equal(await page.locator("#old-session").isHidden(), true);
    await scan(page);
    await end(/status of 401/);
  });

  test("twenty tabs at once are one link", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const asked = await counter(page, "asked");
    await page.locator("#tabs").click();
    await page.locator("#tabs-result").waitFor();
    assert.match(await page.locator("#tabs-result").textContent(), /20 tabs.*20 opened, with 1 link\. The vendor was asked for 1 link\./);
    await counted(page, "asked", asked + 1);
    // The vendor's count is seen before the gateway's lines.
    await page.locator("#requests td", { hasText: /^(joined|hit)$/ }).nth(18).waitFor();
    await end();
  });

  test("it can be walked with the keyboard alone", async () => {
    const { page, end } = await visit(browser);
    await page.goto(valet.app);
    const press = async (selector) => {
      for (let i = 0; i < 60; i += 1) {
        if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return release(page.keyboard.press("Enter"));
        await page.keyboard.press("Tab");
      }
      assert.fail(`${selector} can't be reached with the tab key`);
    };
    await page.locator("#sign-in").waitFor();
    await press("#sign-in");
    await page.getByRole("button", { name: "Continue as Ada" }).waitFor();
    await press("button[name=user]");
    await page.locator("#scan").waitFor();
    await press("#scan");
    // Into the frame and to its button, as a person would.
    const enabled = plugin(page).locator("#continue:enabled");
    await enabled.waitFor();
    for (let i = 0; i < 60 && !(await enabled.evaluate((button) => button === document.activeElement && document.hasFocus())); i += 1) {
      await page.keyboard.press("Tab");
    }
    release(page.keyboard.press("Enter"));
    await page.locator("#done").waitFor();
    await press("#log-out");
    await page.locator("#sign-in:focus").waitFor();
    await end();
  });
});
