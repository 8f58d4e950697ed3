// Valet and an OpenID provider that knows nothing of it: discovery, keys, and which of its tokens are sessions.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { read, until } from "./ask.mjs";
import { gateway, vendor } from "./gateway.mjs";
import { launch } from "./kit.mjs";
import { ALGORITHMS, CLIENT, audience, newKeys, openid, signIn as signedIn, signOut } from "./openid.mjs";
import { party } from "./party.mjs";

const SUBJECT = "grace.hopper@example.com";
const COOLDOWN = 1000;

describe("an OpenID provider", () => {
  let browser;
  let app;
  let idp;
  let scans;
  let valet;
  let early;
  const first = newKeys();
  const second = newKeys();

  /** A gateway for the provider; `more` are further lines of its issuer. */
  const start = (audiences, more = "") =>
    gateway({
      vendor: scans.address,
      login: `${app.address}/login`,
      issuer: `issuer = "${idp.issuer}"
audiences = ${JSON.stringify(audiences)}
algorithms = ${JSON.stringify(ALGORITHMS)}
keys = { discovery = true, refresh = "10s", cooldown = "${COOLDOWN}ms" }
${more}`,
    });
  const ready = (gateway) => until("the gateway has keys", async () => (await gateway.ready()).status === 200);
  const api = ALGORITHMS.map(audience);
  /** One more gateway for the length of a test, which also takes tokens that are for the client. */
  async function another(t, more) {
    const gateway = await start([...api, CLIENT], more);
    t.after(gateway.stop);
    await ready(gateway);
    return gateway;
  }

  before(async () => {
    [browser, scans, app] = await Promise.all([launch(), vendor(), party()]);
    app.openid = idp = await openid(app);
    app.gateway = valet = await start(api);
    early = await valet.ready();
    idp.publish(first);
    await ready(valet);
  });
  after(() => Promise.all([browser, valet, scans, idp, app].map((part) => (part?.stop ?? part?.close)?.call(part))));

  /** Ends at the vendor. */
  async function assertOpens(gateway, token) {
    const { status, location, problem } = await gateway.open(token);
    assert.deepEqual([status, problem], [302, ""]);
    assert.equal(new URL(location).origin, scans.address);
  }

  async function assertInvalid(gateway, token) {
    const { status, location, problem } = await gateway.open(token);
    assert.deepEqual([status, location, problem], [401, undefined, "session-invalid"]);
  }

  test("the gateway is ready once it has learned the keys by discovery", async () => {
    assert.equal(early.status, 503, "the provider did not tell them yet");
    const { status, text } = await valet.ready();
    assert.deepEqual([status, JSON.parse(text)], [200, { degraded: [], ready: true }]);
  });

  for (const algorithm of ALGORITHMS) {
    test(`an access token that is signed with ${algorithm} opens the plug-in`, async () => {
      const token = await idp.token(algorithm);
      const { header, claims } = read(token);
      assert.deepEqual([header.alg, header.typ, claims.aud], [algorithm, "at+jwt", audience(algorithm)]);
      await assertOpens(valet, token);
    });
  }

  describe("a person who signs in in a browser", () => {
    const signIn = () => signedIn(browser, { gateway: valet, idp, app, subject: SUBJECT });

    test("comes from the plug-in's address by code and PKCE to the plug-in's page", async () => {
      const { page, context, access, end } = await signIn();
      assert.equal(new URL(page.url()).origin, scans.address);
      assert.equal(await page.locator("#patient").textContent(), SUBJECT);
      assert.equal(await page.locator("#referer").textContent(), "No Referer arrived with this page.");
      const { value, httpOnly, sameSite, domain } = (await context.cookies(app.address)).find(({ name }) => name === "session");
      assert.deepEqual([value, httpOnly, sameSite, domain], [access, true, "Lax", "app.localhost"]);
      const { header, claims } = read(access);
      assert.deepEqual([header.typ, claims.sub, claims.client_id], ["at+jwt", SUBJECT, CLIENT]);
      await end();
    });

    test("has an ID token that opens nothing, though the same key signed it", async () => {
      const { access, id, end } = await signIn();
      await end();
      assert.equal(read(id).header.kid, read(access).header.kid);
      assert.equal(read(id).claims.aud, CLIENT);
      await assertOpens(valet, access);
      await assertInvalid(valet, id);
    });

    test("has an ID token that `types` keeps out where its audience does not", async (t) => {
      const { access, id, end } = await signIn();
      await end();
      const strict = await another(t, 'types = ["at+jwt"]');
      await assertOpens(strict, access);
      await assertInvalid(strict, id);
      // The control: nothing else stands against it.
      await assertOpens(await another(t), id);
      const { code, err } = await strict.explain(id);
      assert.deepEqual([code, err.match(/^REFUSED +(\S+)/)[1]], [1, "type"], err);
    });

    test("is explained to the operator without token and name", async () => {
      const { access, id, end } = await signIn();
      await end();
      const opened = await valet.explain(access);
      assert.equal(opened.code, 0, opened.err);
      assert.match(opened.out, /^ok +session +opens/m);
      const refused = await valet.explain(id);
      assert.equal(refused.code, 1, refused.out);
      assert.match(refused.err, new RegExp(`^REFUSED +claims +.*the token's aud is ${CLIENT};.*session-invalid`, "m"));
      const said = [opened.out, opened.err, refused.out, refused.err].join("\n");
      for (const secret of [SUBJECT, ...access.split("."), ...id.split(".")]) assert.ok(!said.includes(secret), said);
    });

    test("signs out, and the logout token opens nothing", async (t) => {
      const visitor = await signIn();
      const { access, id, end } = visitor;
      await signOut(visitor, { idp, app });
      await end();
      await until("the provider posts the logout token", () => app.logoutToken);
      const { header, claims } = read(app.logoutToken);
      assert.equal(header.kid, read(access).header.kid);
      assert.deepEqual([claims.aud, claims.sub], [CLIENT, SUBJECT]);
      assert.ok("http://schemas.openid.net/event/backchannel-logout" in claims.events);
      await assertInvalid(valet, app.logoutToken);

      const lax = await another(t);
      await assertOpens(lax, id);
      await assertInvalid(lax, app.logoutToken);
      const { code, err } = await lax.explain(app.logoutToken);
      assert.deepEqual([code, err.match(/^REFUSED +(\S+)/)[1]], [1, "type"], err);
    });
  });

  describe("that changes its keys", () => {
    /** Within the cool-down the gateway asks nobody, whatever it is shown. */
    const cooledDown = () => until("the cool-down is over", () => Date.now() - idp.fetches.at(-1) > COOLDOWN);
    /** The provider has these keys, and the gateway knows the one that signs. */
    async function known(keys) {
      idp.publish(keys);
      const token = await idp.token("ES256");
      await until("the gateway knows the key", async () => (await valet.open(token)).status === 302);
      return token;
    }

    test("a new key opens with its first request, and the old one beside it goes on", async () => {
      const old = await known(first);
      idp.publish([...second, ...first]);
      const fresh = await idp.token("ES256");
      assert.notEqual(read(fresh).header.kid, read(old).header.kid);
      await cooledDown();
      await assertOpens(valet, fresh);
      await assertOpens(valet, old);
    });

    test("a key that has left the set opens nothing after one refresh, though no unknown key called for it", async () => {
      const old = await known(first);
      const unseen = await idp.token("ES256");
      idp.publish(second);
      const before = idp.fetches.length;
      let fetches;
      await until("the old key's token is refused", async () => {
        fetches = idp.fetches.length - before;
        return (await valet.open(old)).status === 401;
      });
      assert.ok(fetches <= 1, `${fetches} fetches did not end it`);
      await assertInvalid(valet, old);
      await assertInvalid(valet, unseen);
    });

    test("a key that has come back opens with its first request, and the one that it replaces ends there and then", async () => {
      const old = await known(first);
      const fresh = await known(second);
      await assertInvalid(valet, old);
      idp.publish(first);
      await cooledDown();
      await assertOpens(valet, old);
      await assertInvalid(valet, fresh);
    });
  });
});
