//! The calls that a mint makes, for an operator's eyes: values as they are written, each secret by its name.

use std::collections::BTreeMap;

use super::call::{CallSource, mint_source, register_source};
use super::needs::uses_registration;
use super::preset::{Source, effective};
use super::settings::{AuthSettings, ClientAuth, MintSettings, ProviderSettings};

/// A line for each thing that is sent or read: the call's name, and what. Empty for a minter's provider and an unknown mint.
pub fn describe(settings: &ProviderSettings, mint: &str) -> Vec<(&'static str, String)> {
    let Ok(source) = effective(settings) else { return Vec::new() };
    let Some(call) = source.mint.get(mint).filter(|_| settings.minter.is_none()) else { return Vec::new() };
    let mut lines = Vec::new();
    // A JWT of ours needs no call, unless it tells of the registration's answer.
    let is_called = call.jwt.is_none() || uses_registration(&source, mint);
    if is_called {
        token(settings, source.auth.as_ref(), &mut lines);
    }
    if let Some(register) = source.register.as_ref().filter(|_| is_called) {
        describe_call(settings, &source, "register", &register_source(register), &mut lines);
    }
    match &call.jwt {
        None => describe_call(settings, &source, "mint", &mint_source(call), &mut lines),
        Some(jwt) => {
            lines.push(("sign", format!("a JWT by {} with <api_key>", jwt.algorithm)));
            lines.push(("sign", format!("header {}, claims {}", jwt.header, jwt.claims)));
        }
    }
    answer(call, &mut lines);
    lines
}

fn answer(call: &MintSettings, lines: &mut Vec<(&'static str, String)>) {
    let what = if call.token.is_some() { "token" } else { "url" };
    let place = call.token.as_ref().or(call.url.as_ref());
    lines.extend(place.map(|place| ("read", format!("{what} = {place}"))));
    lines.extend(call.expires.as_ref().map(|place| ("read", format!("expires = {place}"))));
}

fn token(settings: &ProviderSettings, auth: Option<&AuthSettings>, lines: &mut Vec<(&'static str, String)>) {
    let Some(auth) = auth else { return };
    if let Some(oauth2) = &auth.oauth2 {
        lines.push(("token", format!("POST {}", oauth2.token_url)));
        let how = match oauth2.client_auth {
            ClientAuth::Basic => "by Basic with <api_key>",
            ClientAuth::Post => "in the form with <api_key>",
            ClientAuth::PrivateKeyJwt => "by a JWT signed with <api_key>",
        };
        lines.push(("token", format!("grant_type client_credentials, client {} {how}", oauth2.client_id)));
    }
    if let Some(login) = &auth.login {
        lines.push(("token", format!("POST {}{}", base_url(settings), login.path)));
        let body = login.json.as_ref().map(ToString::to_string).or_else(|| login.form.as_ref().map(pairs));
        lines.extend(body.map(|body| ("token", body.replace("{api_key}", "<api_key>"))));
    }
}

fn base_url(settings: &ProviderSettings) -> String {
    settings.base_url.as_ref().map_or_else(String::new, ToString::to_string)
}

fn describe_call(
    settings: &ProviderSettings,
    source: &Source,
    name: &'static str,
    call: &CallSource<'_>,
    lines: &mut Vec<(&'static str, String)>,
) {
    let method = call.method.clone().unwrap_or_else(|| call.default_method.to_string());
    let mut target = format!("{}{}", base_url(settings), call.path.as_deref().unwrap_or_default());
    let mut query: Vec<String> = call.query.iter().flatten().map(|(name, text)| format!("{name}={text}")).collect();
    let auth = source.auth.clone().unwrap_or_default();
    query.extend(auth.query.iter().map(|name| format!("{name}=<api_key>")));
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    lines.push((name, format!("{method} {target}")));
    lines.extend(key_line(&auth).map(|line| (name, line)));
    for (field, text) in source.headers.iter().chain(call.headers).flatten() {
        lines.push((name, format!("{field}: {text}")));
    }
    for field in settings.secret_headers.keys() {
        lines.push((name, format!("{field}: <secret_headers.{field}>")));
    }
    lines.extend(call.json.as_ref().map(|json| (name, json.to_string())));
    lines.extend(call.form.as_ref().map(|form| (name, pairs(form))));
}

fn key_line(auth: &AuthSettings) -> Option<String> {
    let prefix = auth.prefix.as_deref().unwrap_or_default();
    let of_header = auth.header.as_ref().map(|field| format!("{field}: {prefix}<api_key>"));
    let bearer = || (auth.bearer == Some(true)).then(|| "authorization: Bearer <api_key>".to_owned());
    let basic = || auth.basic.as_ref().map(|user| format!("authorization: Basic {user}:<api_key>"));
    let oauth2 = || auth.oauth2.as_ref().map(|_| "authorization: Bearer <access token>".to_owned());
    let login = || auth.login.as_ref().map(|login| format!("authorization: {}<access token>", login.prefix));
    let hmac = || {
        let hmac = auth.hmac.as_ref()?;
        Some(format!("{}: {}<hmac-{} with api_key over {}>", hmac.header, hmac.prefix, hmac.algorithm, hmac.text))
    };
    let sigv4 = || {
        let sigv4 = auth.sigv4.as_ref()?;
        Some(format!(
            "authorization: AWS4-HMAC-SHA256 {}/{}/{} <signature with api_key>",
            sigv4.access_key_id, sigv4.region, sigv4.service
        ))
    };
    of_header.or_else(bearer).or_else(basic).or_else(oauth2).or_else(login).or_else(hmac).or_else(sigv4)
}

fn pairs(form: &BTreeMap<String, String>) -> String {
    form.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(recipe: &str) -> String {
        let settings: ProviderSettings = toml::from_str(&format!(
            "name = 'acme'\nbase_url = 'https://api.acme.example/v1/'\napi_key = {{ env = 'CANARY' }}\nredirect_hosts = ['e.acme.example']\n{recipe}"
        ))
        .unwrap();
        describe(&settings, "embed").into_iter().map(|(name, line)| format!("{name} {line}\n")).collect()
    }

    #[test]
    fn every_call_is_told_with_secrets_by_their_names() {
        let mint = "[mint.embed]\nmethod = 'POST'\npath = '/embed'\nquery = { a = '{language}' }\nform = { user = '{subject}' }\nurl = 'json:/url'\nexpires = 'fixed'";
        assert_eq!(
            told(&format!(
                "auth = {{ header = 'authorization', prefix = 'Token token=' }}\nheaders = {{ x-id = 'acme' }}\n\
                 secret_headers = {{ x-second = {{ env = 'CANARY' }} }}\n[register]\npath = '/users'\njson = {{ id = '{{subject}}' }}\n{mint}"
            )),
            "register POST https://api.acme.example/v1/users\nregister authorization: Token token=<api_key>\nregister x-id: acme\n\
             register x-second: <secret_headers.x-second>\nregister {\"id\":\"{subject}\"}\n\
             mint POST https://api.acme.example/v1/embed?a={language}\nmint authorization: Token token=<api_key>\nmint x-id: acme\n\
             mint x-second: <secret_headers.x-second>\nmint user={subject}\nread url = json:/url\nread expires = fixed\n"
        );
        let oauth2 = told(&format!(
            "auth = {{ oauth2 = {{ token_url = 'https://id.acme.example/token', client_id = 'c' }} }}\n{mint}"
        ));
        assert!(oauth2.starts_with("token POST https://id.acme.example/token\ntoken grant_type client_credentials, client c by Basic with <api_key>\n"), "{oauth2}");
        assert!(oauth2.contains("mint authorization: Bearer <access token>\n"));
        let query = told(&format!("auth = {{ query = 'key' }}\n{mint}"));
        assert!(query.contains("/embed?a={language}&key=<api_key>\n"), "{query}");
        let jwt = told(
            "[mint.embed]\njwt = { algorithm = 'HS256', claims = { exp = '{now+1h:epoch#}' } }\nurl = 'https://e.acme.example/{jwt}'",
        );
        let register = "auth = { bearer = true }\n[register]\npath = '/users'\n[mint.embed]\njwt = { algorithm = 'HS256', claims = { id = ID, exp = '{now+1h:epoch#}' } }\nurl = 'https://e.acme.example/{jwt}'";
        assert!(told(&register.replace("ID", "'{register:/id}'")).starts_with("register POST "));
        assert!(told(&register.replace("ID", "'{subject}'")).starts_with("sign a JWT "));
        assert_eq!(
            jwt,
            "sign a JWT by HS256 with <api_key>\nsign header {}, claims {\"exp\":\"{now+1h:epoch#}\"}\nread url = https://e.acme.example/{jwt}\n"
        );
    }
}
