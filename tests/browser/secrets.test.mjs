// The link is a secret, and so is the session: where they are not.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ask } from "./ask.mjs";
import { counter, demo, frame, launch, plugin, scan, signIn, site, visit } from "./kit.mjs";

describe("secrets", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  test("the session is in a cookie that no script reads and no other site sends", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const cookies = await page.context().cookies();
    const session = cookies.find((cookie) => cookie.name === "session");
    assert.deepEqual([session.httpOnly, session.sameSite, session.path, session.domain], [true, "Lax", "/", "app.localhost"]);
    assert.equal(await page.evaluate(() => document.cookie), "");
    await end();
  });

  test("the app learns who it is from the gateway alone: not from a page that says so, and never by the session itself", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet, "Ada");
    const session = (await page.context().cookies()).find((cookie) => cookie.name === "session").value;
    const answer = await page.evaluate(async () => {
      const headers = { "x-auth-subject": "grace", X_Auth_Name: "Grace" };
      return (await fetch("/me", { headers })).json();
    });
    assert.deepEqual(answer, {
      name: "Ada",
      received: { "x-auth-issuer": valet.idp, "x-auth-name": "Ada", "x-auth-subject": "ada" },
      credential: false,
    });
    // The control: the app sees the session where nobody cuts it out, and there is no way to its page past the gateway.
    const past = { host: new URL(valet.app).host, cookie: `session=${session}` };
    assert.equal(JSON.parse((await ask(`${valet.upstream}/me`, { headers: past })).text).credential, true);
    const straight = await ask(valet.upstream);
    assert.deepEqual([straight.status, straight.text.includes(valet.app)], [421, true]);
    await end();
  });

  test("nothing of the link is in the app's page, its history, its storage or its timing", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const length = await page.evaluate(() => history.length);
    await scan(page);
    const link = (await frame(page)).url();
    const token = new URL(link).searchParams.get("action_token");
    assert.ok(token.length > 100, "the frame itself has the link");
    const seen = await page.evaluate(async () => {
      const frame = document.querySelector("#plugin");
      let inside;
      try {
        inside = frame.contentWindow.location.href;
      } catch (fault) {
        inside = fault.name;
      }
      return {
        inside,
        markup: document.documentElement.outerHTML,
        history: [history.length, JSON.stringify(history.state), location.href],
        storage: JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
        databases: (await indexedDB.databases()).length,
        caches: (await caches.keys()).length,
        entries: performance.getEntries().map((entry) => JSON.stringify(entry)),
        dom: frame.src,
      };
    });
    assert.equal(seen.inside, "SecurityError", "the app can't look into the frame");
    assert.deepEqual(seen.history, [length, "null", `${valet.app}/`], "no step in the history");
    assert.deepEqual([seen.storage, seen.databases, seen.caches], ["[{},{},\"\"]", 0, 0]);
    assert.equal(seen.dom, `${valet.app}/plugins/face-scan`);
    const all = JSON.stringify(seen);
    for (const secret of [token, "action_token", "patient=", new URL(link).search]) {
      assert.ok(!all.includes(secret), `${secret.slice(0, 20)} is in the app's page`);
    }
    const timing = seen.entries.filter((entry) => entry.includes("/plugins/face-scan"));
    assert.ok(timing.length > 0, "the frame is in the timing, by the gateway's address");
    await end();
  });

  test("no Referer reaches the plug-in, though the app's page would send one", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const referers = [];
    page.on("request", async (request) => {
      if (/plugin\.localhost|\/plugins\//.test(request.url())) {
        referers.push([new URL(request.url()).hostname, (await request.allHeaders()).referer]);
      }
    });
    await scan(page);
    assert.equal(await plugin(page).locator("#referer").textContent(), "No Referer arrived with this page.");
    await scan(page, "#again");
    assert.equal(await plugin(page).locator("#referer").textContent(), "No Referer arrived with this page.");
    assert.deepEqual(
      referers.filter(([host]) => host === "app.localhost").map(([, referer]) => referer),
      [`${valet.app}/`, `${valet.app}/`],
      "the app's page sends one to the gateway: that it ends there is the gateway's doing",
    );
    await end();
  });

  test("no Referer comes from a link on a foreign page either", async () => {
    const foreign = await site({
      "/mail": `<!doctype html><link rel="icon" href="data:,"><a href="${valet.app}/plugins/face-scan">Your scan</a>`,
    });
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await page.goto(`${foreign.at("mail.localhost")}/mail`);
    await page.locator("a").click();
    await page.locator("#referer").waitFor();
    assert.equal(await page.locator("#referer").textContent(), "No Referer arrived with this page.");
    await end();
    await foreign.stop();
  });

  test("it works where third-party cookies are blocked", async () => {
    const { page, end } = await visit(browser);
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    await session.send("Network.setCookieControls", {
      enableThirdPartyCookieRestriction: true,
      disableThirdPartyCookieMetadata: true,
      disableThirdPartyCookieHeuristics: true,
    });
    // The control: a frame of another site asks for its cookie. Without it the test would not notice a browser that blocks nothing.
    const inner = await site({
      "/set": { body: "set", headers: { "set-cookie": "third=1; SameSite=None; Secure; Path=/" } },
      "/show": "<!doctype html><p>shown</p>",
    });
    const outer = await site({ "/": `<!doctype html><link rel="icon" href="data:,"><iframe src="${inner.at("inner.localhost")}/show"></iframe>` });
    await page.goto(`${inner.at("inner.localhost")}/set`);
    await page.goto(`${outer.at("outer.localhost")}/`);
    await page.frameLocator("iframe").getByText("shown").waitFor();
    assert.equal(inner.requests.findLast(({ url }) => url === "/show").headers.cookie, undefined, "the browser blocks them");

    await signIn(page, valet);
    await scan(page);
    await scan(page, "#again");
    await end(/third-party cookie/i, /Third-Party/i);
    await Promise.all([inner.stop(), outer.stop()]);
  });

  test("a foreign site that frames, posts to or asks the gateway gets nothing", async () => {
    const target = `${valet.app}/plugins/face-scan`;
    const head = '<!doctype html><link rel="icon" href="data:,">';
    const foreign = await site({
      "/frame": `${head}<iframe name="f" src="${target}"></iframe>`,
      "/post": `${head}<iframe name="f"></iframe><form method="post" action="${target}" target="f"><button>go</button></form>`,
      "/embed": `${head}<object data="${target}" type="text/html"></object><embed src="${target}">`,
      "/ask": head,
    });
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const before = await counter(page, "asked");
    const answers = [];
    page.on("response", async (response) => {
      if (response.url() === target) answers.push([response.status(), (await response.allHeaders()).location]);
    });
    // Another host below localhost is another site to a browser, and so is an address.
    for (const host of ["evil.localhost", "127.0.0.1"]) {
      const at = foreign.at(host);
      await page.goto(`${at}/frame`);
      await page.goto(`${at}/embed`);
      await page.goto(`${at}/post`);
      const framed = page.waitForResponse(target);
      await page.locator("button").click();
      await framed;
      await page.goto(`${at}/ask`);
      const asked = await page.evaluate(async (url) => {
        const said = [];
        for (const options of [{ credentials: "include" }, { credentials: "include", headers: { accept: "application/json" } }]) {
          said.push(await fetch(url, options).then((answer) => answer.text(), (fault) => fault.name));
        }
        const opaque = await fetch(url, { mode: "no-cors", credentials: "include" }).then((answer) => answer.type, (fault) => fault.name);
        return [...said, opaque];
      }, target);
      assert.deepEqual(asked.slice(0, 2), ["TypeError", "TypeError"], `${host}: the answer can't be read`);
      for (const inside of page.frames()) assert.ok(!inside.url().includes("plugin.localhost"), inside.url());
    }
    for (const [status, location] of answers) {
      assert.ok(status >= 400 && location === undefined, `${status} ${location}`);
    }
    assert.ok(answers.length >= 4, `${answers.length} answers were seen`);
    await page.goto(valet.app);
    await page.locator("#scan").waitFor();
    await page.locator("#requests tbody tr").first().waitFor();
    assert.equal(await counter(page, "asked"), before, "the vendor was not asked");
    await end(/Failed to load resource/, /blocked by CORS/, /status of 40\d/, /Refused to/, /net::ERR/, /violates/);
    await foreign.stop();
  });

  test("a page on another port of the same host is another origin: it frames and posts nothing, though its requests carry the cookie", async () => {
    const target = `${valet.app}/plugins/face-scan`;
    const head = '<!doctype html><link rel="icon" href="data:,">';
    const other = await site({
      "/frame": `${head}<iframe name="f" src="${target}"></iframe>`,
      "/post": `${head}<iframe name="f"></iframe><form method="post" action="${target}" target="f"><button>go</button></form>`,
    });
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    const before = await counter(page, "asked");
    const refused = async (act) => {
      const [response] = await Promise.all([page.waitForResponse(target), act()]);
      assert.match((await response.request().allHeaders()).cookie, /session=/);
      assert.equal(response.status(), 403);
    };
    await refused(() => page.goto(`${other.at("app.localhost")}/frame`));
    await page.goto(`${other.at("app.localhost")}/post`);
    await refused(() => page.locator("button").click());
    await page.goto(valet.app);
    await page.locator("#requests td.bad", { hasText: "403" }).first().waitFor();
    assert.equal(await counter(page, "asked"), before, "the vendor was not asked");
    await end(/status of 403/);
    await other.stop();
  });

  test("neither link nor token is in what the demo printed", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    const session = (await page.context().cookies()).find((cookie) => cookie.name === "session").value;
    const token = new URL((await frame(page)).url()).searchParams.get("action_token");
    await end();
    const lines = valet.lines.filter((line) => line.startsWith("{")).join("\n");
    assert.ok(lines.includes('"path":"/plugins/face-scan"'), "there are access lines");
    for (const secret of [session, token, "action_token"]) assert.ok(!lines.includes(secret));
  });
});
