// Express, by "Production best practices: performance and reliability" (NODE_ENV is production, nothing synchronous, no logging in the way), express-jwt for
// the token, which has no cache, and http-proxy-middleware with an agent that keeps connections for the app and WebSockets. It speaks no HTTP/2.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import express from 'express';
import { expressjwt } from 'express-jwt';
import { createProxyMiddleware } from 'http-proxy-middleware';

const { PLAIN, TLS, ORIGIN, FILES, ALG } = process.env;
const file = (name) => readFileSync(`${FILES}/${name}`, 'utf8');
const urls = new Map(file('users.map').split('\n').map((line) => line.split(' ')));

const app = express();
app.disable('x-powered-by');
const session = expressjwt({ secret: file('issuer.pem'), algorithms: [ALG], audience: 'my-app', issuer: 'https://idp.example.com' });
app.get('/plugins/face-scan', session, (request, response) => {
    response.set({ 'Cache-Control': 'no-store', 'Referrer-Policy': 'no-referrer' }).redirect(302, urls.get(request.auth.sub));
});
const behind = createProxyMiddleware({
    target: `http://${ORIGIN}`,
    agent: new http.Agent({ keepAlive: true }),
    pathFilter: '/app',
    on: {
        proxyReq: (onward, request) => {
            onward.removeHeader('authorization');
            onward.setHeader('x-auth-subject', request.auth?.sub ?? '');
        },
    },
});
app.use('/app', session);
app.use(behind);
app.use((error, _request, response, _next) => response.status(error.status ?? 500).end());

const servers = [
    [http.createServer(app), PLAIN],
    [https.createServer({ cert: file('site.pem'), key: file('site-key.pem') }, app), TLS],
];
for (const [server, port] of servers) {
    server.keepAliveTimeout = 75_000;
    server.on('upgrade', (request, socket, head) => {
        // What has no session gets no tunnel.
        const refused = { setHeader() {}, end() {} };
        session(request, refused, (error) => (error ? socket.destroy() : behind.upgrade(request, socket, head)));
    });
    server.listen(Number(port), '127.0.0.1');
}
