// What docs/embedding.md says of browsers, seen in one.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { gateway, idp, vendor } from "./gateway.mjs";
import { demo, frame, launch, plugin, scan, signIn, site, visit } from "./kit.mjs";

describe("embedding", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  /** Three origins: a page, a gateway that redirects, a plug-in that says what it may. */
  const chain = async (page, headers = {}) => {
    const inner = await site({
      "/plugin": `<!doctype html><link rel="icon" href="data:,"><p id="camera"></p>
        <script>document.getElementById("camera").textContent = document.featurePolicy.allowsFeature("camera");</script>`,
    });
    const plugin = inner.at("plugin.localhost");
    const gateway = await site({ "/open": { status: 302, headers: { location: `${plugin}/plugin` }, body: "" } });
    const outer = await site({ "/": { headers, body: page({ plugin, gateway: gateway.at("app.localhost") }) } });
    return {
      app: outer.at("app.localhost"),
      plugin,
      gateway: gateway.at("app.localhost"),
      stop: () => Promise.all([inner.stop(), gateway.stop(), outer.stop()]),
    };
  };
  const head = '<!doctype html><link rel="icon" href="data:,">';

  test("the demo's plug-in may use the camera", async () => {
    const { page, end } = await visit(browser);
    await signIn(page, valet);
    await scan(page);
    const allowed = await (await frame(page)).evaluate(() => document.featurePolicy.allowsFeature("camera"));
    assert.equal(allowed, true);
    await end();
  });

  for (const [allow, allowed] of [
    [() => "camera", "false"],
    [({ plugin }) => `camera ${plugin}`, "true"],
    [() => "camera *", "true"],
    [({ gateway }) => `camera ${gateway}`, "false"],
    [() => "", "false"],
  ]) {
    test(`allow="${allow({ plugin: "PLUGIN", gateway: "GATEWAY" })}": behind a redirect the camera is ${allowed === "true" ? "there" : "not there"}`, async () => {
      const places = await chain((at) => `${head}<iframe allow="${allow(at)}" src="${at.gateway}/open"></iframe>`);
      const { page, end } = await visit(browser);
      await page.goto(places.app);
      const camera = page.frameLocator("iframe").locator("#camera");
      await camera.waitFor();
      assert.equal(await camera.textContent(), allowed);
      await end();
      await places.stop();
    });
  }

  test("the page's own Permissions-Policy comes first", async () => {
    const places = await chain((at) => `${head}<iframe allow="camera *" src="${at.gateway}/open"></iframe>`, {
      "permissions-policy": "camera=(self)",
    });
    const { page, end } = await visit(browser);
    await page.goto(places.app);
    const camera = page.frameLocator("iframe").locator("#camera");
    await camera.waitFor();
    assert.equal(await camera.textContent(), "false");
    await end();
    await places.stop();
  });

  for (const [named, shown] of [
    [({ gateway, plugin }) => `${gateway} ${plugin}`, true],
    [({ gateway }) => gateway, false],
    [({ plugin }) => plugin, false],
  ]) {
    const policy = named({ gateway: "GATEWAY", plugin: "PLUGIN" });
    test(`frame-src ${policy}: the plug-in is ${shown ? "" : "not "}shown, for each redirect is judged too`, async () => {
      const places = await chain(
        (at) => `${head.replace(">", `><meta http-equiv="content-security-policy" content="frame-src ${named(at)}">`)}<iframe src="${at.gateway}/open"></iframe>`,
      );
      const { page, end, complaints } = await visit(browser);
      const blocked = page.waitForEvent("console", { predicate: (message) => /violates/.test(message.text()), timeout: 0 }).catch(() => {});
      await page.goto(places.app);
      if (shown) {
        await page.frameLocator("iframe").locator("#camera").waitFor();
      } else {
        await blocked;
        assert.ok(complaints.some((text) => text.includes("frame-src")), complaints.join());
        for (const inside of page.frames()) assert.ok(!inside.url().startsWith(places.plugin), inside.url());
      }
      await end(...(shown ? [] : [/violates/]));
      await places.stop();
    });

    test(`form-action ${policy}: "scan again" is ${shown ? "" : "not "}sent on, for each redirect is judged too`, async () => {
      const places = await chain(
        (at) => `${head.replace(">", `><meta http-equiv="content-security-policy" content="form-action ${named(at)}">`)}
          <iframe name="plugin"></iframe><form method="post" target="plugin" action="${at.gateway}/open"><button>Scan again</button></form>`,
      );
      const { page, end, complaints } = await visit(browser);
      const blocked = page.waitForEvent("console", { predicate: (message) => /violates/.test(message.text()), timeout: 0 }).catch(() => {});
      await page.goto(places.app);
      await page.locator("button").click();
      if (shown) {
        await page.frameLocator("iframe").locator("#camera").waitFor();
      } else {
        await blocked;
        assert.ok(complaints.some((text) => text.includes("form-action")), complaints.join());
        for (const inside of page.frames()) assert.ok(!inside.url().startsWith(places.plugin), inside.url());
      }
      await end(...(shown ? [] : [/violates/]));
      await places.stop();
    });
  }

  for (const policy of ["no-referrer", "same-origin", "strict-origin"]) {
    test(`a page on the gateway's origin with Referrer-Policy: ${policy}: its form is answered`, async () => {
      const { page, end } = await visit(browser);
      await signIn(page, valet);
      await page.evaluate((content) => document.head.append(Object.assign(document.createElement("meta"), { name: "referrer", content })), policy);
      const [request] = await Promise.all([page.waitForRequest(/face-scan/), page.locator("#again").click()]);
      assert.equal((await request.response()).status(), 303);
      await plugin(page).locator("#continue").waitFor();
      await end();
    });
  }

  test("JSON mode: a page on the gateway's origin gets the link and opens it itself", async () => {
    const { page, end } = await visit(browser, { bypassCSP: true });
    await signIn(page, valet);
    await opensTheLinkItself(page, `${valet.app}/plugins/face-scan`);
    await end();
  });
});

/** Asks for the JSON from inside the page, and gives the link to a frame. */
async function opensTheLinkItself(page, target) {
  const answer = await page.evaluate(async (url) => {
    const response = await fetch(url, { credentials: "include", headers: { accept: "application/json" } });
    const { url: link, ...rest } = await response.json();
    const frame = document.createElement("iframe");
    frame.id = "plugin";
    frame.referrerPolicy = "no-referrer";
    frame.src = link;
    document.body.append(frame);
    return { ...rest, status: response.status };
  }, target);
  assert.deepEqual([answer.status, answer.plugin], [200, "face-scan"]);
  assert.ok(answer.expires_in > 6 * 3600 - 60 && answer.expires_in <= 6 * 3600, `${answer.expires_in}`);
  await plugin(page).locator("#continue").waitFor();
  assert.equal(await plugin(page).locator("#referer").textContent(), "No Referer arrived with this page.");
}

describe("embedding in a page on another origin than the gateway", () => {
  let parts;
  let browser;
  let valet;
  let token;
  let allowed;
  let other;
  const pages = {};
  before(async () => {
    // The same host, so that the gateway gets the cookie of the page.
    const sites = await Promise.all([site(pages), site(pages)]);
    [allowed, other] = sites.map(({ at }) => at("app.localhost"));
    let users, scans;
    [browser, users, scans] = await Promise.all([launch(), idp(), vendor()]);
    valet = await gateway({ issuer: users.issuer, vendor: scans.address, origins: [allowed] });
    pages["/"] = '<!doctype html><link rel="icon" href="data:,"><p>The page</p>';
    for (const policy of ["no-referrer", "same-origin", "strict-origin"]) {
      pages[`/${policy}`] = `<!doctype html><link rel="icon" href="data:,"><meta name="referrer" content="${policy}">
        <iframe name="plugin"></iframe><form method="post" target="plugin" action="${valet.plugin}"><button>Scan again</button></form>`;
    }
    token = await users.token("ada");
    parts = [valet, scans, users, ...sites];
  });
  after(async () => {
    await browser.close();
    await Promise.all(parts.map((part) => part.stop()));
  });

  const signedIn = async () => {
    const visitor = await visit(browser);
    const { hostname: domain } = new URL(allowed);
    await visitor.context.addCookies([{ name: "session", value: token, domain, path: "/", httpOnly: true, sameSite: "Lax" }]);
    return visitor;
  };

  for (const [policy, origin, status] of [
    ["no-referrer", () => "null", 403],
    ["same-origin", () => "null", 403],
    ["strict-origin", () => allowed, 303],
  ]) {
    test(`with Referrer-Policy: ${policy} its form is answered with ${status}`, async () => {
      const { page, end } = await signedIn();
      await page.goto(`${allowed}/${policy}`);
      const [request] = await Promise.all([page.waitForRequest(valet.plugin), page.locator("button").click()]);
      assert.equal((await request.allHeaders()).origin, origin());
      assert.equal((await request.response()).status(), status);
      await end(/status of 403/);
    });
  }

  test("JSON mode: a page of an allowed origin gets the link and opens it itself", async () => {
    const { page, end } = await signedIn();
    await page.goto(`${allowed}/`);
    await opensTheLinkItself(page, valet.plugin);
    await end();
  });

  test("JSON mode: a page of another origin reads nothing", async () => {
    const { page, end } = await signedIn();
    await page.goto(`${other}/`);
    const read = page.evaluate(async (url) => {
      const asked = fetch(url, { credentials: "include", headers: { accept: "application/json" } });
      return asked.then((answer) => answer.text(), (fault) => fault.name);
    }, valet.plugin);
    assert.equal(await read, "TypeError");
    await end(/blocked by CORS/, /ERR_FAILED/);
  });
});
