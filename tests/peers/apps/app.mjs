// An app on Node's own HTTP server. It prints its port, tells what it saw, and answers in every way that could be spoilt. With the
// argument `h2c` it speaks HTTP/2, without TLS.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { brotliCompressSync, gzipSync } from "node:zlib";

/** The piece of which long bodies are made; the tests make the same. */
const PIECE = Buffer.alloc(64 * 1024, "0123456789abcdefghijklmnopqrstuvwxyz\n");
const TEXT = Buffer.from("The same words again. ".repeat(500));

/** Who waits for what, by name: a `POST /go/NAME` lets the answer under that name go on. */
const waiting = new Map();
const arrived = new Map();
const wait = (name) => new Promise((go) => (arrived.delete(name) ? go() : waiting.set(name, go)));
/** Downloads whose client is gone, or has all. */
const left = new Set();
let connections = 0;

async function read(request, each) {
  for await (const piece of request) each(piece);
}

/** Writes one piece and waits while the reader is slower. */
const write = (response, piece) =>
  response.write(piece) || response.destroyed ? undefined : new Promise((done) => response.once("drain", done));

const routes = {
  /** What this app saw of the request. */
  async seen(request, response) {
    const hash = createHash("sha256");
    let length = 0;
    await read(request, (piece) => {
      hash.update(piece);
      length += piece.length;
    });
    const { method, url, httpVersion, headers, rawHeaders, rawTrailers } = request;
    const names = rawHeaders.filter((_, at) => at % 2 === 0);
    const values = rawHeaders.filter((_, at) => at % 2 === 1);
    const fields = names.map((name, at) => [name.toLowerCase(), values[at]]);
    const { authorization = "", cookie = "" } = headers;
    const [subject, issuer] = [headers["x-auth-subject"] ?? "", headers["x-auth-issuer"] ?? ""];
    const body = { length, sha256: hash.digest("hex") };
    const who = { subject, issuer, authorization, cookie };
    const seen = { method, target: url, ...who, httpVersion, fields, rawTrailers, body };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(seen));
  },
  /** The body, piece by piece as it comes. */
  echo(request, response) {
    response.setHeader("content-type", request.headers["content-type"] ?? "application/octet-stream");
    request.pipe(response);
  },
  /** An answer before the body: `POST /early` is refused unread. */
  early(request, response) {
    response.writeHead(403, { "content-type": "text/plain" });
    response.end("not that");
  },
  nothing: (_, response) => response.writeHead(204).end(),
  away: (_, response) => response.writeHead(302, { location: "https://elsewhere.example/a?b=%2f&c=\"d\"" }).end(),
  missing: (_, response) => response.writeHead(404, { "content-type": "text/plain" }).end("none\n"),
  cookies(_, response) {
    response.writeHead(200, { "set-cookie": ["a=1", "b=2; Path=/; HttpOnly", "a=3"], "content-type": "text/plain" });
    response.end("crumbs\n");
  },
  gzip: (_, response) => coded(response, "gzip", gzipSync(TEXT)),
  br: (_, response) => coded(response, "br", brotliCompressSync(TEXT)),
  /** Chunks, none of them empty. */
  async chunks(_, response) {
    response.setHeader("content-type", "text/plain");
    for (const piece of ["one ", "two ", "three"]) await write(response, piece);
    response.end();
  },
  trailers(_, response) {
    response.writeHead(200, { trailer: "x-checksum", "content-type": "text/plain" });
    response.write("body");
    response.addTrailers({ "x-checksum": "1234" });
    response.end();
  },
  hints(_, response) {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    response.end("hinted");
  },
  /** `/bytes/COUNT`: so many pieces of 64 KiB, with their length announced; `/bytes/COUNT/chunked` without. */
  async bytes(_, response, [count, chunked]) {
    response.setHeader("content-type", "text/plain");
    if (!chunked) response.setHeader("content-length", count * PIECE.length);
    for (let n = 0; n < count && !response.destroyed; n += 1) await write(response, PIECE);
    response.end();
  },
  /** Server-sent events: the next one when the last was seen. */
  async events(_, response, [name, count]) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    for (let n = 1; n <= count; n += 1) {
      response.write(`data: ${n}\n\n`);
      await wait(name);
    }
    response.end("data: end\n\n");
  },
  /** A download in two halves; the second when it is told to go on. */
  async halves(_, response, [name]) {
    response.setHeader("content-length", 2 * PIECE.length);
    response.on("close", () => left.add(name));
    response.write(PIECE);
    await wait(name);
    response.end(PIECE);
  },
  left: (_, response, [name]) => response.end(left.has(name) ? "yes" : "no"),
  /** Breaks off in the middle. */
  broken(_, response, [chunked]) {
    if (!chunked) response.setHeader("content-length", 2 * PIECE.length);
    response.write(PIECE, () => response.destroy());
  },
  go(_, response, [name]) {
    const go = waiting.get(name);
    if (go) waiting.delete(name);
    else arrived.set(name, true);
    go?.();
    response.writeHead(204).end();
  },
  /** How many connections there were before this one. */
  connections: (_, response) => response.end(String(connections - 1)),
};

function coded(response, coding, bytes) {
  response.writeHead(200, { "content-encoding": coding, "content-length": bytes.length, "content-type": "text/plain" });
  response.end(bytes);
}

async function serve(request, response) {
  const path = request.url.split("?")[0].replace(/^\/here\//, "/");
  const [name, ...rest] = path.split("/").slice(1);
  const route = Object.hasOwn(routes, name) ? routes[name] : routes.missing;
  await route(request, response, rest);
}

const create = process.argv[2] === "h2c" ? createHttp2Server : createServer;
const server = create((request, response) => {
  response.sendDate = true;
  serve(request, response).catch(() => response.destroy());
});
// `POST /early` is refused before its body; everything else is asked to go on.
server.on("checkContinue", (request, response) => {
  if (!request.url.startsWith("/early")) response.writeContinue();
  server.emit("request", request, response);
});
server.on("connection", () => (connections += 1));
// The default is 5 s: nothing here may depend on it.
server.keepAliveTimeout = 60_000;
server.requestTimeout = 0;
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
