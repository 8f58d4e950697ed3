//! Where a request's credentials are, read a second time: `header:authorization`, `cookie:session`, `header:x-token`, in this order.

use valet_gateway::session::SourceKind;

#[derive(Default)]
pub struct Found<'a> {
    pub credentials: Vec<(&'a [u8], SourceKind)>,
    pub other_scheme: bool,
    pub malformed: bool,
}

/// `None` where one source holds two things.
pub fn read<'a>(fields: &[(&'a [u8], &'a [u8])]) -> Option<Found<'a>> {
    let authorization = values(fields, "authorization");
    let mut cookies: Vec<&[u8]> = values(fields, "cookie")
        .iter()
        .flat_map(|field| field.split(|byte| *byte == b';'))
        .filter_map(|pair| trimmed(pair).strip_prefix(b"session="))
        .collect();
    let mut raw: Vec<&[u8]> = values(fields, "x-token").into_iter().map(trimmed).collect();
    for values in [&mut cookies, &mut raw] {
        values.retain(|value| !value.is_empty());
        values.dedup();
    }
    if authorization.len() > 1 || cookies.len() > 1 || raw.len() > 1 {
        return None;
    }

    let mut found = Found::default();
    let mut tokens = Vec::new();
    if let Some(value) = authorization.first() {
        let words: Vec<&[u8]> = trimmed(value).splitn(2, |byte| *byte == b' ').collect();
        let token = words.get(1).map(|rest| trimmed(rest)).filter(|rest| !rest.is_empty());
        match (words[0].to_ascii_lowercase().as_slice(), token) {
            (b"bearer", Some(token)) if !token.iter().any(|byte| b" \t".contains(byte)) => {
                tokens.push((token, SourceKind::Header));
            }
            (b"bearer" | b"", _) => found.malformed = true,
            _ => found.other_scheme = true,
        }
    }
    tokens.extend(cookies.iter().map(|token| (*token, SourceKind::Cookie)));
    tokens.extend(raw.iter().map(|token| (*token, SourceKind::Header)));
    for (token, from) in tokens {
        if found.credentials.iter().all(|(held, _)| *held != token) {
            found.credentials.push((token, from));
        }
    }
    Some(found)
}

fn values<'a>(fields: &[(&'a [u8], &'a [u8])], name: &str) -> Vec<&'a [u8]> {
    let same = fields.iter().filter(|(held, _)| held.to_ascii_lowercase() == name.as_bytes());
    same.map(|(_, value)| *value).collect()
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !b" \t".contains(byte);
    match (value.iter().position(is_text), value.iter().rposition(is_text)) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => &[],
    }
}
