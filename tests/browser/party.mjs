// An app that signs its users in at an OpenID provider: the relying party.
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

import { told } from "./ask.mjs";
import { stopping } from "./kit.mjs";
import { CLIENT, audience } from "./openid.mjs";

const random = () => randomBytes(32).toString("base64url");
const page = (body) => `<!doctype html><link rel="icon" href="data:,"><title>App</title>${body}`;

/** The app on a free port. Its cookie is for its host, so the gateway on the same host gets it, whatever the port. */
export async function party() {
  const app = { tokens: undefined, logoutToken: undefined };
  const pending = new Map();

  const routes = {
    async "/login"({ query, go }) {
      const [state, verifier] = [random(), random()];
      // Anyone can write a `return_to`: of it only the path counts.
      pending.set(state, { verifier, path: new URL(query.get("return_to"), app.address).pathname });
      const { authorization_endpoint } = await app.openid.endpoints();
      const parameters = {
        client_id: CLIENT,
        response_type: "code",
        redirect_uri: `${app.address}/callback`,
        scope: "openid scan",
        resource: audience("ES256"),
        state,
        code_challenge: createHash("sha256").update(verifier).digest("base64url"),
        code_challenge_method: "S256",
      };
      go(`${authorization_endpoint}?${new URLSearchParams(parameters)}`);
    },
    async "/callback"({ query, go }) {
      const { verifier, path } = pending.get(query.get("state"));
      pending.delete(query.get("state"));
      const { token_endpoint } = await app.openid.endpoints();
      app.tokens = await told(token_endpoint, {
        method: "POST",
        body: {
          grant_type: "authorization_code",
          client_id: CLIENT,
          code: query.get("code"),
          redirect_uri: `${app.address}/callback`,
          code_verifier: verifier,
          resource: audience("ES256"),
        },
      });
      go(app.gateway.at(path), { "set-cookie": `session=${app.tokens.access_token}; HttpOnly; SameSite=Lax; Path=/` });
    },
    "/signed-out": ({ show }) => show(page("<h1>Signed out</h1>")),
    async "/backchannel-logout"({ request, show }) {
      app.logoutToken = new URLSearchParams(await text(request)).get("logout_token");
      show("");
    },
  };

  const server = createServer(async (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url, app.address);
    const go = (location, headers = {}) => response.writeHead(303, { location, ...headers }).end();
    const show = (body) => response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(body);
    try {
      await routes[pathname]({ request, query, go, show });
    } catch (fault) {
      response.writeHead(500).end(String(fault));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  return Object.assign(app, {
    address: `http://app.localhost:${port}`,
    // The provider itself asks here, and not every system resolves names below localhost.
    backchannel: `http://127.0.0.1:${port}/backchannel-logout`,
    stop: stopping(server),
  });
}
