// The pictures of the operators' page: a node with some traffic, whose vendor then fails.
import { join } from "node:path";

import { gateway, idp, vendor } from "./gateway.mjs";
import { visit } from "./kit.mjs";

const TOKEN = "the-token-of-the-pictures";
/** Readings of the page: some, so that its lines have a course. */
const READINGS = 12;

/** Takes them into this folder. */
export async function operators(browser, folder) {
  const people = Array.from({ length: 150 }, (_, n) => `person-${n}`);
  const [sold, signs] = await Promise.all([vendor(), idp(people)]);
  const valet = await gateway({ issuer: signs.issuer, vendor: sold.address, token: TOKEN });
  let person = 0;
  let busy = true;
  const tokens = [];
  for (const one of people) tokens.push(await signs.token(one));
  const traffic = (async () => {
    while (busy) {
      person += 1;
      // Some come again, and now and then somebody new.
      await Promise.all(tokens.slice(0, 3 + (person % 9)).map((token) => valet.open(token)));
      await valet.open(tokens[Math.floor(person / 4) % tokens.length]);
      await new Promise((done) => setTimeout(done, 40 + 30 * (person % 7)));
      if (person % 17 === 0) await valet.open("nonsense");
    }
  })();
  const open = async (options) => {
    const { context, page } = await visit(browser, options);
    await page.goto(valet.admin("/"));
    await page.locator("#refused tbody th").first().waitFor();
    return { context, page };
  };
  const shoot = (page, name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, animations: "disabled" });
  const read = (page, count) => page.waitForFunction((count) => document.querySelectorAll("#cards .spark path")[0]?.getAttribute("d").split("L").length >= count, count, { timeout: 120_000 });

  const wide = await open({ viewport: { width: 1280, height: 900 } });
  const dark = await open({ viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
  const phone = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await read(wide.page, READINGS);
  await shoot(wide.page, "operators-well");
  await read(dark.page, READINGS);
  await shoot(dark.page, "operators-dark");
  await read(phone.page, READINGS);
  await phone.page.screenshot({ path: join(folder, "operators-phone.png"), animations: "disabled" });

  await sold.stop();
  await read(wide.page, READINGS + 8);
  await shoot(wide.page, "operators");
  await wide.page.getByLabel("Token of [admin]").fill(TOKEN);
  await wide.page.keyboard.press("Enter");
  await wide.page.locator("#mints tbody th").first().waitFor();
  await wide.page.locator("#admin-title").scrollIntoViewIfNeeded();
  await wide.page.locator("section", { has: wide.page.locator("#admin-title") }).screenshot({ path: join(folder, "operators-admin.png"), animations: "disabled" });
  busy = false;
  await traffic;
  for (const { context } of [wide, dark, phone]) await context.close();
  await Promise.all([valet.stop(), signs.stop()]);
}
