// Sign-out at an OpenID provider that knows nothing of Valet: its own back-channel logout call reaches the plug-in's URL.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ask, read, until } from "./ask.mjs";
import { gateway, vendor } from "./gateway.mjs";
import { launch } from "./kit.mjs";
import { CLIENT, audience, newKeys, openid, signIn, signOut } from "./openid.mjs";
import { party } from "./party.mjs";

const SUBJECT = "grace.hopper@example.com";

describe("sign-out at an OpenID provider", () => {
  let browser;
  let scans;
  before(async () => {
    [browser, scans] = await Promise.all([launch(), vendor()]);
  });
  after(() => Promise.all([browser, scans].map((part) => (part?.stop ?? part?.close)?.call(part))));

  /** A provider of this kind, an app that is its client, and the gateway, to which the provider posts its logout tokens. */
  async function start(t, kind) {
    const app = await party();
    const idp = await openid(app, kind);
    const valet = await gateway({
      vendor: scans.address,
      login: `${app.address}/login`,
      issuer: `issuer = "${idp.issuer}"
audiences = ["${audience("ES256")}"]
logout_audiences = ["${CLIENT}"]
algorithms = ["ES256"]
keys = { discovery = true }`,
      tables: "[session.logout]",
    });
    t.after(() => Promise.all([valet, idp, app].map((part) => part.stop())));
    Object.assign(app, { openid: idp, gateway: valet, backchannel: valet.byNumber("/.valet/backchannel-logout") });
    idp.publish(newKeys());
    await until("the gateway has keys", async () => (await valet.ready()).status === 200);
    return {
      app,
      idp,
      valet,
      signIn: (to) => signIn(browser, { gateway: valet, idp, app, subject: SUBJECT, to }),
      signOut: (visitor) => signOut(visitor, { idp, app }),
      /** How many logout tokens ended a session. */
      async applied() {
        const { text } = await ask(valet.admin("/metrics"));
        return Number(text.match(/^valet_revocations_total\{outcome="applied",source="logout"\} (\d+)$/m)[1]);
      },
    };
  }

  const state = async (valet, token) => {
    const { status, problem } = await valet.open(token);
    return problem ? `${status} ${problem}` : `${status}`;
  };

  test("with `sid` ends that session at the next request, and the same person's other session goes on", async (t) => {
    const { idp, valet, applied, ...people } = await start(t, { namesSession: true });
    const here = await people.signIn();
    const there = await people.signIn();
    const [one, other] = [read(here.access).claims, read(there.access).claims];
    assert.deepEqual([one.sub, other.sub, typeof one.sid], [SUBJECT, SUBJECT, "string"]);
    assert.notEqual(one.sid, other.sid);
    const { location: url } = await valet.open(here.access);

    await people.signOut(here);
    // The provider posts before it shows its page, and takes our 200 for what it is.
    assert.deepEqual([idp.logouts, await applied()], [["taken"], 1]);
    assert.equal(await state(valet, here.access), "401 session-invalid");
    // It names the subject too: the URL that all sessions of a person share is gone, and the session that goes on gets a new one.
    const { status, location } = await valet.open(there.access);
    assert.deepEqual([status, location === url], [302, false]);

    const again = await people.signIn();
    assert.equal(await state(valet, again.access), "302");
    assert.equal(await state(valet, here.access), "401 session-invalid");
    await Promise.all([here, there, again].map(({ end }) => end()));
  });

  test("without `sid` ends every session of the person, and who signs in again is let in", async (t) => {
    const { idp, valet, applied, ...people } = await start(t, { sessionRequired: false });
    const here = await people.signIn();
    const there = await people.signIn();
    assert.equal(await state(valet, there.access), "302");

    // The provider dates tokens by this clock, which stands still from here: a sign-in takes less than a second, or more, as the machine has it.
    let now = Date.now();
    const clock = t.mock.method(Date, "now", () => now);
    await people.signOut(here);
    assert.deepEqual([idp.logouts, await applied()], [["taken"], 1]);
    for (const { access } of [here, there]) assert.equal(await state(valet, access), "401 session-invalid");

    // A revocation bounds to the second: what is of the same one might be from before.
    const early = await people.signIn("The session is not valid.");
    assert.equal(await state(valet, early.access), "401 session-invalid");
    now += 1000;
    const again = await people.signIn();
    assert.equal(await state(valet, again.access), "302");
    clock.mock.restore();
    assert.equal(read(again.access).claims.iat - read(early.access).claims.iat, 1);
    assert.equal(await state(valet, early.access), "401 session-invalid");
    await early.end(/status of 401/);
    await Promise.all([here, there, again].map(({ end }) => end()));
  });
});
