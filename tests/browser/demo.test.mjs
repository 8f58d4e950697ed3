// The demo's page as somebody meets it who tries it out: what stands where, what is said, where the focus is, and answers that come late.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { complete, counter, demo, launch, plugin, scan, signIn, visit } from "./kit.mjs";

describe("the demo's page", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  const story = (page, pattern) => page.locator("#story", { hasText: pattern }).waitFor();
  const hint = (page, pattern) => page.locator("#hint", { hasText: pattern }).waitFor();
  const press = async (page, name) => {
    await page.locator(`[data-trouble="${name}"]`).click();
    await page.locator(`[data-trouble="${name}"][aria-pressed="true"]`).waitFor();
  };
  /** A question that is held back until it is let go, and answered then. */
  const hold = async (page, path, answer = (route) => route.continue()) => {
    let letGo;
    let arrived;
    const [free, came] = [new Promise((done) => (letGo = done)), new Promise((done) => (arrived = done))];
    await page.route((url) => url.pathname === path, async (route) => {
      arrived();
      await free;
      await answer(route);
    }, { times: 1 });
    return { came, letGo };
  };

  test("what breaks it stands under the story, above the fold", async () => {
    const { page, end } = await visit(browser, { viewport: { width: 1280, height: 800 } });
    await signIn(page, valet);
    await scan(page);
    await story(page, /asked the vendor|held your link/);
    const box = async (selector) => page.locator(selector).boundingBox();
    const [said, tries, path] = [await box("#story"), await box("#try"), await box("#path")];
    assert.ok(said.y + said.height <= tries.y && tries.y + tries.height <= path.y, "in this order");
    for (const button of await page.locator("#try button:visible").all()) {
      const { y, height } = await button.boundingBox();
      assert.ok(y + height <= 800, `${await button.textContent()} ends at ${y + height}`);
    }
    await end();
  });

  test("who logs out reads that in the story, and in the picture", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await story(page, /told the app who you are/);
    await page.locator("#log-out").click();
    await story(page, /^You have logged out/);
    assert.match(await page.locator('[data-step="session"]').textContent(), /logged out/);
    assert.match(await page.locator('[data-step="browser"]').textContent(), /POST \/logout → 204.*no session/s);
    await signIn(page, valet, "Grace");
    await story(page, /told the app who you are/);
    await end();
  });

  test("a hint names buttons that are there, signed in and signed out", async () => {
    const { page, end } = await visit(browser);
    const named = async () => {
      const text = await page.locator("#hint").textContent();
      const buttons = ["Start face scan", "Scan again", "Sign in", "Log out", "Set the clock right"];
      const first = buttons.filter((name) => new RegExp(`(?:^|[.:] )(?:Press )?${name}|press ${name}`).test(text));
      assert.ok(first.length > 0, text);
      for (const name of first) {
        const there = await page.locator("button:visible, a.button:visible").filter({ hasText: name }).count();
        assert.ok(there > 0, `${name} is not there: ${text}`);
      }
      return text;
    };
    await page.goto(valet.app);
    await page.locator("#sign-in").waitFor();
    await press(page, "unreachable");
    assert.match(await named(), /press Sign in/i);
    await signIn(page, valet);
    await hint(page, /press Start face scan/);
    await named();
    await page.locator("#log-out").click();
    await hint(page, /Press Sign in/);
    await named();
    await press(page, "none");
    await page.locator("#rotate").click();
    await hint(page, /new key.*Press Sign in/);
    await named();
    await end();
  });

  test("the clock that was set ahead is set right again", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    assert.equal(await page.locator("#set-back").isVisible(), false, "it is right");
    await page.locator("#expire").click();
    await hint(page, /6 h 0 min ahead.*Set the clock right/);
    await page.locator("#set-back").click();
    await hint(page, /The clock is right again/);
    await page.locator("#set-back").waitFor({ state: "hidden" });
    await page.locator("#log-out").click();
    await page.locator("#sign-in").waitFor();
    await signIn(page, valet);
    await scan(page);
    await complete(page);
    await end();
  });

  test("a vendor that says 429: for how long is said, and that its pause goes on", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await press(page, "busy");
    await hint(page, /429.*pause of 5 s/);
    await page.locator("#again").click();
    await plugin(page).getByRole("heading", { name: "The provider is busy." }).waitFor();
    await story(page, /429 and asked for a pause of 5 s/);
    await press(page, "none");
    await hint(page, /pause of 5 s.*goes on to its end/);
    // The pause is over when the clock says so.
    await page.locator("#expire").click();
    await hint(page, /every link has ended/);
    await scan(page);
    await page.locator("#set-back").click();
    await page.locator("#set-back").waitFor({ state: "hidden" });
    await end(/status of (503|401)/);
  });

  test("behind Continue the focus is on what is said in the plug-in's place", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    await complete(page);
    await page.locator("#done-title:focus", { hasText: "Scan complete" }).waitFor();
    await end();
  });

  test("on a phone everything to press has 44 px", async () => {
    const { page, end } = await visit(browser, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    const small = async () => {
      for (const button of await page.locator("button:visible, a.button:visible, summary:visible").all()) {
        const { height, width } = await button.boundingBox();
        assert.ok(height >= 44 && width >= 44, `${await button.textContent()}: ${width} × ${height} px`);
      }
    };
    await page.goto(valet.app);
    await page.locator("#sign-in").waitFor();
    await small();
    await signIn(page, valet);
    await scan(page);
    await small();
    for (const button of await plugin(page).locator("button:visible").all()) {
      const { height } = await button.boundingBox();
      assert.ok(height >= 44, `${await button.textContent()}: ${height} px`);
    }
    await end();
  });

  test("who is there could not be asked once: the page asks again, though its feed was there all the time", async () => {
    const { page, end } = await visit(browser);
    const me = await hold(page, "/me", (route) => route.fulfill({ status: 503, body: "" }));
    await page.goto(valet.app);
    await me.came;
    // The feed tells something: from now on it has no reason to begin anew.
    await counter(page, "opened");
    me.letGo();
    await page.locator("#sign-in").waitFor();
    await page.locator("#line-state", { hasText: /^live$/ }).waitFor();
    await end(/status of 503/);
  });

  test("an answer to a question of before the log-out does not sign anybody in again", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const body = await page.evaluate(() => fetch("/me").then((answer) => answer.text()));
    assert.equal(JSON.parse(body).name, "Ada");
    const me = await hold(page, "/me", (route) => route.fulfill({ contentType: "application/json", body }));
    // The page asks again who is there when the clock has moved.
    await page.locator("#expire").click();
    await me.came;
    await page.locator("#log-out").click();
    await page.locator("#sign-in").waitFor();
    const late = page.waitForResponse((answer) => new URL(answer.url()).pathname === "/me");
    me.letGo();
    await (await late).finished();
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
    assert.equal(await page.locator("#signed-in").isVisible(), false);
    await page.locator("#set-back").click();
    await page.locator("#set-back").waitFor({ state: "hidden" });
    await end();
  });

  test("a tab that is shown again asks who is there: another tab may have signed in somebody else", async () => {
    const { context, page, end } = await visit(browser);
    await signIn(page, valet, "Ada");
    await scan(page);
    const other = await context.newPage();
    await other.goto(valet.app);
    await other.locator("#log-out").click();
    await other.locator("#sign-in").waitFor();
    await signIn(other, valet, "Grace");
    // A headless browser hides no tab; this is what one says that has been shown.
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.locator("#who", { hasText: "Grace" }).waitFor();
    assert.equal(await page.locator("#plugin").count(), 0, "nothing of Ada's stays");
    await end();
  });

  test("a button whose answer comes late takes the focus from nobody, and scrolls nothing", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const tabs = await hold(page, "/api/tabs");
    await page.locator("#tabs").click();
    await tabs.came;
    await page.locator("#dashboard").focus();
    tabs.letGo();
    await page.locator("#tabs-result").waitFor();
    await page.locator("#tabs:enabled").waitFor();
    assert.equal(await page.locator("#dashboard:focus").count(), 1);
    assert.ok((await counter(page, "asked")) > 0);
    await end();
  });
});
