// The origin of http-cache-tests, on loopback only: its own server listens everywhere. CACHE_TESTS: the package's folder.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const from = async (path) => (await import(pathToFileURL(`${process.env.CACHE_TESTS}/server/${path}`))).default;
const routes = {
  config: await from("handle-config.mjs"),
  test: await from("handle-test.mjs"),
  state: await from("handle-state.mjs"),
};

const server = createServer((request, response) => {
  const [name, ...rest] = request.url.split("?")[0].split("/").slice(1);
  if (Object.hasOwn(routes, name)) routes[name](rest, request, response);
  else response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
