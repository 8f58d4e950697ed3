//! Header fields by which apps and platforms believe that a proxy before them says who or where the client is.
//! They are removed from what clients send, in every spelling; docs/apps.md lists them.

/// Names of fields that say who the client is. An app may be told a claim in one of them.
pub(in crate::gateway) const USER_NAMES: [&str; 6] = [
    "cf-access-authenticated-user-email",
    "x-amzn-oidc-identity",
    "x-anonymous-consumer",
    "x-auth-user",
    "x-auth-username",
    "x-credential-identifier",
];

/// Beginnings of such names; something must follow.
pub(in crate::gateway) const USER_BEGINNINGS: [&str; 12] = [
    "oidc-",
    "remote-",
    "tailscale-user-",
    "x-auth-request-",
    "x-authenticated-",
    "x-authentik-",
    "x-consumer-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-pomerium-claim-",
    "x-remote-",
    "x-webauth-",
];

/// Names of fields that say something else of the client or of its request. No claim stands in one of them.
pub(in crate::gateway) const NAMES: [&str; 52] = [
    // The certificate that it showed.
    "client-cert",
    "client-cert-chain",
    "x-arr-clientcert",
    "x-client-cert",
    "x-client-cert-chain",
    "x-client-certificate",
    "x-client-dn",
    "x-client-verify",
    "x-tls-client-cert",
    "x-tls-client-cert-info",
    // Where it is.
    "ali-cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "http-client-ip",
    "incap-client-ip",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-nf-client-connection-ip",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-source-ip",
    "x-sucuri-clientip",
    "x-vercel-proxied-for",
    // How it connected.
    "cf-visitor",
    "front-end-https",
    "x-arr-ssl",
    "x-scheme",
    "x-url-scheme",
    // Which host, path or method was meant; `proxy` becomes an environment variable of CGI programs (CVE-2016-5385).
    "proxy",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-override-url",
    "x-path-info",
    "x-rewrite-url",
    "x-script-name",
];

/// Beginnings of such names; something must follow.
pub(in crate::gateway) const BEGINNINGS: [&str; 8] = [
    "ssl-client-",
    "x-amzn-mtls-",
    "x-appengine-",
    "x-envoy-",
    "x-forwarded-",
    "x-original-",
    "x-ssl-",
    "x-vercel-forwarded-",
];

/// Whether a field is one of these.
pub(in crate::gateway) fn is_proxy_field(name: &str) -> bool {
    STARTS[hash(name.as_bytes())]
        && (is_listed(name, &USER_NAMES, &USER_BEGINNINGS) || is_listed(name, &NAMES, &BEGINNINGS))
}

/// Whether a field is one of these, and not one that says who the client is.
pub(in crate::gateway) fn is_request_field(name: &str) -> bool {
    is_listed(name, &NAMES, &BEGINNINGS)
}

fn is_listed(name: &str, names: &[&str], beginnings: &[&str]) -> bool {
    let begins = |start: &&&str| name.len() > start.len() && name.get(..start.len()).is_some_and(|n| same(start, n));
    names.iter().any(|own| same(own, name)) || beginnings.iter().any(|start| begins(&start))
}

/// Which hashes of three letters a listed name begins with: one look tells most fields of a request apart from all of them.
const STARTS: [bool; 1024] = {
    let mut all = [false; 1024];
    let lists: [&[&str]; 4] = [&USER_NAMES, &USER_BEGINNINGS, &NAMES, &BEGINNINGS];
    let mut list = 0;
    while list < lists.len() {
        let mut name = 0;
        while name < lists[list].len() {
            all[hash(lists[list][name].as_bytes())] = true;
            name += 1;
        }
        list += 1;
    }
    all
};

/// Of the first three bytes, with every sign that some reader takes for `-` as one.
const fn hash(name: &[u8]) -> usize {
    let mut hash = 0;
    let mut at = 0;
    while at < 3 && at < name.len() {
        let byte = name[at];
        let plain = if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
        hash = hash * 37 + plain as usize;
        at += 1;
    }
    hash % 1024
}

/// Whether two names are one to some app server: many read `_`, `.` and other signs in names as `-`.
pub(in crate::gateway) fn same(own: &str, name: &str) -> bool {
    let plain = |c: u8| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { b'-' };
    own.len() == name.len() && own.bytes().map(plain).eq(name.bytes().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_like_field_is_known_in_each_spelling() {
        for name in [
            "CF-Connecting-IP",
            "fastly-client-ip",
            "X-Azure-ClientIP",
            "x-envoy-external-address",
            "X_Envoy_Original_Path",
            "remote-user",
            "Remote_User",
            "x-remote-user",
            "X.Remote.Group",
            "x-webauth-user",
            "ssl-client-verify",
            "SSL_CLIENT_S_DN",
            "x-client-cert",
            "X-HTTP-Method-Override",
            "x-original-anything",
            "x-forwarded-user",
            "X-Auth-Request-Email",
            "x-ms-client-principal-name",
        ] {
            assert!(is_proxy_field(name), "{name}");
        }
        for name in [
            "referer",
            "sec-fetch-site",
            "x-original-",
            "x-remote",
            "remote",
            "cf-ray",
            "x-requested-with",
            "x-csrf-token",
            "x-api-key",
            "x-auth-token",
            "cookie",
            "te",
            "",
            "é",
        ] {
            assert!(!is_proxy_field(name), "{name}");
        }
    }

    #[test]
    fn each_listed_name_passes_the_first_look() {
        for name in USER_NAMES.into_iter().chain(NAMES) {
            assert!(is_proxy_field(name) && is_proxy_field(&name.to_uppercase().replace('-', "_")), "{name}");
        }
        for start in USER_BEGINNINGS.into_iter().chain(BEGINNINGS) {
            assert!(is_proxy_field(&format!("{start}x")), "{start}");
        }
    }

    #[test]
    fn a_claim_may_stand_in_what_says_who_the_client_is_and_nowhere_else() {
        for (name, taken) in
            [("remote-user", false), ("x-webauth-user", false), ("x-real-ip", true), ("x-original-uri", true)]
        {
            assert_eq!(is_request_field(name), taken, "{name}");
        }
    }

    #[test]
    fn the_list_in_the_documentation_is_the_one_in_force() {
        let page = include_str!("../../../docs/apps.md");
        let names = USER_NAMES.iter().chain(&NAMES).map(|name| format!("`{name}`"));
        let beginnings = USER_BEGINNINGS.iter().chain(&BEGINNINGS).map(|start| format!("`{start}*`"));
        let missing: Vec<String> = names.chain(beginnings).filter(|written| !page.contains(written)).collect();
        assert!(missing.is_empty(), "docs/apps.md lacks {missing:?}");
    }
}
