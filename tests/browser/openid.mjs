// An OpenID provider that is not ours: oidc-provider, with a client for people and one for machines.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

import { told } from "./ask.mjs";
import { stopping, visit } from "./kit.mjs";

export const ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA"];
export const CLIENT = "web";

/** The audience whose access tokens are signed with this algorithm. */
export const audience = (algorithm) => `https://${algorithm.toLowerCase()}.api.example`;

// That it is set up for a test, not for production, it says of itself in a dozen lines.
for (const level of ["info", "warn"]) {
  const say = console[level];
  console[level] = (...words) => /oidc-provider (NOTICE|WARNING)/.test(words[0]) || say(...words);
}

/** New keys for all algorithms. No `alg` in them, so that one RSA key serves RS256 and PS256. */
export function newKeys() {
  const kinds = [["ec", { namedCurve: "P-256" }], ["rsa", { modulusLength: 2048 }], ["ed25519"]];
  return kinds.map(([kind, options]) => {
    const jwk = generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" });
    return { ...jwk, use: "sig", kid: `${kind}-${jwk.x ?? jwk.n}`.slice(0, 24) };
  });
}

/**
 * The provider on a free port. It answers 503 until the first `publish`. `namesSession`: its access tokens have the claim `sid`;
 * `sessionRequired`: its logout tokens have it.
 */
export async function openid(app, { namesSession = false, sessionRequired = true } = {}) {
  let answer = (_, response) => response.writeHead(503).end();
  const fetches = [];
  const logouts = [];
  const server = createServer((request, response) => {
    if (request.url === "/favicon.ico") return void response.writeHead(204).end();
    if (request.url === "/jwks") fetches.push(Date.now());
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // By its number, for not every system knows names below localhost.
  const issuer = `http://127.0.0.1:${server.address().port}`;
  return {
    issuer,
    /** Signs with the first key that fits from now on, and publishes all. */
    publish(keys) {
      const made = provider(issuer, app, keys, { namesSession, sessionRequired });
      made.on("backchannel.success", () => logouts.push("taken"));
      made.on("backchannel.error", (_, fault) => logouts.push(fault.message));
      answer = made.callback();
    },
    endpoints: () => told(`${issuer}/.well-known/openid-configuration`),
    /** An access token for a machine, signed with this algorithm. */
    async token(algorithm) {
      const authorization = `Basic ${Buffer.from("machine:secret").toString("base64")}`;
      const body = { grant_type: "client_credentials", resource: audience(algorithm), scope: "scan" };
      return (await told(`${issuer}/token`, { method: "POST", headers: { authorization }, body })).access_token;
    },
    /** When the key set was asked for, each time. */
    fetches,
    /** What became of each logout token that it has posted, in its own view. */
    logouts,
    stop: stopping(server),
  };
}

/** From the plug-in's address by way of the provider's own pages to the plug-in, or to the page that is said instead. */
export async function signIn(browser, { gateway, idp, app, subject, to = "Face scan (simulated)" }) {
  const visitor = await visit(browser);
  const { page, context } = visitor;
  // The provider's pages ask for a font; no test asks the internet.
  await context.route(/^https:/, (route) => route.fulfill({ contentType: "text/css", body: "" }));
  await page.goto(gateway.plugin);
  assert.equal(new URL(page.url()).origin, idp.issuer);
  await page.getByPlaceholder("Enter any login").fill(subject);
  await page.getByPlaceholder("and password").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await page.getByRole("button", { name: "Continue" }).click();
  // The provider leads away by redirects alone. Where they end is a page: the wrong one is told at once, not waited out.
  await page.waitForURL(({ origin }) => origin !== idp.issuer);
  assert.equal(await page.title(), to, page.url());
  return { ...visitor, access: app.tokens.access_token, id: app.tokens.id_token };
}

/** By the provider's own page, until the app says so. */
export async function signOut({ page, id }, { idp, app }) {
  const { end_session_endpoint } = await idp.endpoints();
  const parameters = { id_token_hint: id, post_logout_redirect_uri: `${app.address}/signed-out` };
  await page.goto(`${end_session_endpoint}?${new URLSearchParams(parameters)}`);
  await page.getByRole("button", { name: "Yes, sign me out" }).click();
  await page.getByRole("heading", { name: "Signed out" }).waitFor();
}

function provider(issuer, app, keys, { namesSession, sessionRequired }) {
  return new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ["a key of the tests"] },
    clients: [
      {
        client_id: CLIENT,
        token_endpoint_auth_method: "none",
        redirect_uris: [`${app.address}/callback`],
        post_logout_redirect_uris: [`${app.address}/signed-out`],
        backchannel_logout_uri: app.backchannel,
        backchannel_logout_session_required: sessionRequired,
        id_token_signed_response_alg: "ES256",
      },
      {
        client_id: "machine",
        client_secret: "secret",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    pkce: { required: () => true },
    extraTokenClaims: (_, token) => (namesSession && token.sid ? { sid: token.sid } : undefined),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "scan",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: ALGORITHMS.find((algorithm) => audience(algorithm) === resource) } },
        }),
      },
    },
  });
}
