// The pictures of the docs, made anew: node screenshots.mjs FOLDER. They are looked at by people; no test compares them.
import { join } from "node:path";

import { operators } from "./operators.screens.mjs";
import { complete, counted, counter, demo, launch, plugin, scan, signIn, visit } from "./kit.mjs";

const folder = process.argv[2];
const browser = await launch();
const valet = await demo();

const shoot = (page, name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, animations: "disabled" });
/** A moment that is the same each time: the scan is complete, the live part has caught up. */
const settled = async (page) => {
  await plugin(page).locator("#continue:enabled").waitFor();
  await page.locator("#messages li").nth(2).waitFor();
};

const wide = await visit(browser, { viewport: { width: 1280, height: 800 } });
await signIn(wide.page, valet);
await scan(wide.page);
await counted(wide.page, "minted", 1);
await settled(wide.page);
await shoot(wide.page, "minted");

await scan(wide.page);
await counted(wide.page, "hit", 1);
await settled(wide.page);
await shoot(wide.page, "held");

await complete(wide.page);
await wide.page.locator("#tabs").click();
await wide.page.locator("#tabs-result").waitFor();
await counted(wide.page, "asked", 2);
await shoot(wide.page, "tabs");

await wide.page.locator('[data-trouble="unreachable"]').click();
await wide.page.locator("#hint").waitFor();
await wide.page.locator("#again").click();
await plugin(wide.page).getByRole("heading").waitFor();
await wide.page.locator("#requests td.bad").first().waitFor();
await shoot(wide.page, "vendor-gone");
await wide.page.locator('[data-trouble="none"]').click();
await wide.page.locator('[data-trouble="none"][aria-pressed="true"]').waitFor();
await wide.context.close();

const dark = await visit(browser, { viewport: { width: 1280, height: 800 }, colorScheme: "dark" });
await signIn(dark.page, valet, "Grace");
const asked = await counter(dark.page, "asked");
await dark.page.locator("#dashboard").click();
await plugin(dark.page).getByRole("heading", { name: "Health dashboard" }).waitFor();
await counted(dark.page, "asked", asked + 1);
await shoot(dark.page, "dark");
await dark.context.close();

const phone = await visit(browser, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
await signIn(phone.page, valet);
await scan(phone.page);
await settled(phone.page);
await phone.page.evaluate(() => scrollTo(0, 0));
await phone.page.screenshot({ path: join(folder, "phone.png"), animations: "disabled" });
await phone.context.close();

await valet.stop();

await operators(browser, folder);
await browser.close();
