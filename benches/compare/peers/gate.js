// The check of nginx-njs.conf. njs Reference: crypto.subtle.importKey and verify, Buffer.
const ALGORITHMS = {
    ES256: { key: { name: 'ECDSA', namedCurve: 'P-256' }, check: { name: 'ECDSA', hash: 'SHA-256' } },
    RS256: { key: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, check: { name: 'RSASSA-PKCS1-v1_5' } },
};

const NAME = '{{alg}}';
const ALGORITHM = ALGORITHMS[NAME];
// Written in here, for this runs anew for each request.
const KEY = Buffer.from('{{key}}', 'base64');

async function subject(r) {
    const field = r.headersIn.Authorization || '';
    const parts = field.slice(7).split('.');
    if (!field.startsWith('Bearer ') || parts.length != 3) {
        return null;
    }
    if (JSON.parse(Buffer.from(parts[0], 'base64url').toString()).alg !== NAME) {
        return null;
    }
    const key = await crypto.subtle.importKey('spki', KEY, ALGORITHM.key, false, ['verify']);
    const signature = Buffer.from(parts[2], 'base64url');
    if (!(await crypto.subtle.verify(ALGORITHM.check, key, signature, `${parts[0]}.${parts[1]}`))) {
        return null;
    }
    const claims = JSON.parse(Buffer.from(parts[1], 'base64url').toString());
    const good = claims.iss === 'https://idp.example.com' && claims.aud === 'my-app' && claims.exp > Date.now() / 1000;
    return good ? claims.sub : null;
}

async function open(r) {
    const who = await subject(r);
    if (who === null) {
        r.return(401);
        return;
    }
    r.variables.subject = who;
    r.headersOut['Cache-Control'] = 'no-store';
    r.headersOut['Referrer-Policy'] = 'no-referrer';
    r.return(302, r.variables.plugin_url);
}

async function session(r) {
    const who = await subject(r);
    if (who !== null) {
        r.variables.subject = who;
    }
    r.return(who === null ? 401 : 204);
}

export default { open, session };
