// No page and no JSON of the demo and its simulators makes the browser complain. Browsers differ in what they ask for beside an answer.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ask } from "./ask.mjs";
import { demo, frame, launch, scan, signIn, visit } from "./kit.mjs";

describe("the console is quiet", () => {
  let browser;
  let valet;
  before(async () => ([browser, valet] = [await launch(), await demo()]));
  after(async () => {
    await browser.close();
    await valet.stop();
  });

  /** Of these the demo has one each. */
  const addresses = async (page) => {
    await signIn(page, valet);
    await scan(page);
    const link = (await frame(page)).url();
    const { origin: plugin } = new URL(link);
    return {
      app: [`${valet.app}/`, `${valet.app}/me`],
      idp: ["/.well-known/openid-configuration", "/jwks.json", "/_sim/faults", "/_sim/counts"].map((path) => valet.idp + path),
      vendor: [link, `${plugin}/_sim/faults`, `${plugin}/_sim/calls`],
    };
  };

  test("whatever page or JSON is opened in a window of its own", async () => {
    const { page, end } = await visit(browser);
    for (const url of Object.values(await addresses(page)).flat()) {
      const answer = await page.goto(url);
      assert.equal(answer.status(), 200, url);
    }
    await end();
  });

  test("who asks for an icon gets none, and no 404", async () => {
    const { page, end } = await visit(browser);
    const places = await addresses(page);
    await end();
    for (const url of Object.values(places).flat()) {
      const { status } = await ask(new URL("/favicon.ico", url).href);
      assert.equal(status, 204, url);
    }
  });
});
