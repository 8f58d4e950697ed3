//! Where a request's credentials are, read a second time: `header:authorization`, `cookie:session`, `header:x-token`, in this order.

use std::collections::BTreeMap;

use valet_gateway::session::SourceKind;

#[derive(Default)]
pub struct Found {
    pub credentials: Vec<(Vec<u8>, SourceKind)>,
    pub other_scheme: bool,
    pub malformed: bool,
}

/// `None` where one source holds two things.
pub fn read(fields: &[(&[u8], &[u8])]) -> Option<Found> {
    let authorization = values(fields, "authorization");
    let all_cookies = values(fields, "cookie");
    let pairs = || all_cookies.iter().flat_map(|field| field.split(|byte| *byte == b';')).map(trimmed);
    let mut cookies: Vec<&[u8]> = pairs().filter_map(|pair| pair.strip_prefix(b"session=")).collect();
    let mut raw: Vec<&[u8]> = values(fields, "x-token").into_iter().map(trimmed).collect();
    for values in [&mut cookies, &mut raw] {
        values.retain(|value| !value.is_empty());
        values.dedup();
    }
    if authorization.len() > 1 || cookies.len() > 1 || raw.len() > 1 {
        return None;
    }

    let mut found = Found::default();
    let mut tokens: Vec<(Vec<u8>, SourceKind)> = Vec::new();
    if let Some(value) = authorization.first() {
        let words: Vec<&[u8]> = trimmed(value).splitn(2, |byte| *byte == b' ').collect();
        let token = words.get(1).map(|rest| trimmed(rest)).filter(|rest| !rest.is_empty());
        match (words[0].to_ascii_lowercase().as_slice(), token) {
            (b"bearer", Some(token)) if !token.iter().any(|byte| b" \t".contains(byte)) => {
                tokens.push((token.to_vec(), SourceKind::Header));
            }
            (b"bearer" | b"", _) => found.malformed = true,
            _ => found.other_scheme = true,
        }
    }
    match in_pieces(pairs(), !cookies.is_empty())? {
        Some(Some(token)) => tokens.push((token, SourceKind::Cookie)),
        Some(None) => found.malformed = true,
        None => {}
    }
    tokens.extend(cookies.iter().map(|token| (token.to_vec(), SourceKind::Cookie)));
    tokens.extend(raw.iter().map(|token| (token.to_vec(), SourceKind::Header)));
    for (token, from) in tokens {
        if found.credentials.iter().all(|(held, _)| *held != token) {
            found.credentials.push((token, from));
        }
    }
    Some(found)
}

/// What `session.0`, `session.1`, … or `session_0`, … come to: `None` where they are ambiguous, `Some(None)` where there are none that begin,
/// `Some(Some(None))` where one is missing.
fn in_pieces<'a>(pairs: impl Iterator<Item = &'a [u8]>, beside_whole: bool) -> Option<Option<Option<Vec<u8>>>> {
    let mut forms: [BTreeMap<usize, &[u8]>; 2] = Default::default();
    for pair in pairs {
        let Some(tail) = pair.strip_prefix(b"session") else { continue };
        let Some(equals) = tail.iter().position(|byte| *byte == b'=') else { continue };
        let (number, value) = (&tail[..equals], &tail[equals + 1..]);
        for (form, sign) in forms.iter_mut().zip([".", "_"]) {
            let index = (0..100).find(|index| number == format!("{sign}{index}").as_bytes());
            if let Some(index) = index.filter(|_| !value.is_empty())
                && form.insert(index, value).is_some_and(|before| before != value)
            {
                return None;
            }
        }
    }
    if !forms.iter().any(|form| form.contains_key(&0)) {
        return Some(None);
    }
    if beside_whole || forms.iter().all(|form| !form.is_empty()) {
        return None;
    }
    let [dots, underscores] = forms;
    let form = if dots.is_empty() { underscores } else { dots };
    let whole = form.len() <= 16 && form.keys().copied().eq(0..form.len());
    Some(Some(whole.then(|| form.into_values().flatten().copied().collect())))
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
