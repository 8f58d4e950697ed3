//! Cross-site request forgery (CSRF): which pages may be behind a request that carries a cookie.

use crate::gateway::http1::head::Head;
use crate::gateway::judge::negotiate::{is_frame, is_framed};
use crate::gateway::settings::Embedder;
use crate::web::Origin;

/// Who may frame a plug-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Embed {
    any: bool,
    same_origin: bool,
    same_site: bool,
    origins: Vec<Origin>,
}

impl Embed {
    /// From `embed`.
    pub fn new(entries: &[Embedder]) -> Self {
        let mut embed = Self::default();
        for entry in entries {
            match entry {
                Embedder::Any => embed.any = true,
                Embedder::SameOrigin => embed.same_origin = true,
                Embedder::SameSite => embed.same_site = true,
                Embedder::Origin(origin) => embed.origins.push(origin.clone()),
            }
        }
        embed
    }

    /// Whether a framed navigation may be answered. A browser that sends no `Sec-Fetch-Dest` is not seen to frame.
    pub fn allows(&self, head: &Head<'_>) -> bool {
        if self.any || !is_framed(head) {
            return true;
        }
        let Ok(site) = single(head, "sec-fetch-site") else { return false };
        match site {
            Some("same-origin") if self.same_origin || self.same_site => true,
            Some("same-site") if self.same_site => true,
            // Typed or from a bookmark: no page is behind it.
            Some("none") => true,
            // A navigation has no `Origin`; the framing page shows itself by `Referer`, if it wants to.
            _ => single(head, "referer")
                .ok()
                .flatten()
                .and_then(origin_of)
                .is_some_and(|origin| self.origins.iter().any(|known| known.as_str() == origin)),
        }
    }
}

/// What a browser says of a request (W3C, "Fetch Metadata Request Headers"). The names have one length, which tells them from most others.
#[derive(Default)]
struct FetchMetadata<'h> {
    dest: Option<&'h str>,
    mode: Option<&'h str>,
    site: Option<&'h str>,
}

impl<'h> FetchMetadata<'h> {
    /// A field that stands twice, or holds no text, is no answer to "who asks".
    fn read(head: &Head<'h>) -> Result<Self, ()> {
        let mut read = Self::default();
        for field in head.headers.iter().filter(|field| field.name.len() == "sec-fetch-dest".len()) {
            let slot = if field.name.eq_ignore_ascii_case("sec-fetch-dest") {
                &mut read.dest
            } else if field.name.eq_ignore_ascii_case("sec-fetch-mode") {
                &mut read.mode
            } else if field.name.eq_ignore_ascii_case("sec-fetch-site") {
                &mut read.site
            } else {
                continue;
            };
            let value = std::str::from_utf8(field.value).map_err(|_| ())?;
            if slot.replace(value).is_some() {
                return Err(());
            }
        }
        Ok(read)
    }
}

/// Whether a `GET` or `HEAD` with a cookie may be answered: any page can make a browser send one by an `<img>`, and it would mint. `listed`: it
/// comes from a page of `allowed_origins`. A browser that says nothing of itself is not seen to be elsewhere.
pub(in crate::gateway) fn allows_get(head: &Head<'_>, embed: &Embed, listed: bool) -> bool {
    let Ok(FetchMetadata { dest, mode, site }) = FetchMetadata::read(head) else { return false };
    if dest.is_some_and(is_frame) {
        return embed.allows(head);
    }
    let at_home = matches!(site, None | Some("same-origin" | "none"));
    let navigates = mode.is_none_or(|mode| mode.eq_ignore_ascii_case("navigate"));
    // The first browsers that sent these fields had no `Sec-Fetch-Dest` yet.
    let on_top = dest.is_none_or(|dest| dest.eq_ignore_ascii_case("document"));
    at_home || listed || (navigates && on_top)
}

/// Whether a `POST` with a cookie may be answered. `own`: our origin, from `public_url`, never from `Host`.
pub(in crate::gateway) fn allows_post(head: &Head<'_>, own: &str, allowed: &[Origin]) -> bool {
    let (Ok(site), Ok(origin)) = (single(head, "sec-fetch-site"), single(head, "origin")) else { return false };
    if matches!(site, Some("same-origin" | "none")) || origin.is_some_and(|origin| is_listed(origin, allowed)) {
        return true;
    }
    match (site, origin) {
        (None, None) => true,
        (None, Some(origin)) => origin == own,
        (Some(_), _) => false,
    }
}

/// The request's `Origin`, if the plug-in lets pages of it read the JSON.
pub(in crate::gateway) fn allowed_origin<'h>(head: &Head<'h>, allowed: &[Origin]) -> Option<&'h str> {
    if allowed.is_empty() {
        return None;
    }
    single(head, "origin").ok().flatten().filter(|origin| is_listed(origin, allowed))
}

fn is_listed(origin: &str, allowed: &[Origin]) -> bool {
    allowed.iter().any(|known| known.as_str() == origin)
}

/// The one field of this name; two of them are no answer to "who asks".
fn single<'h>(head: &Head<'h>, name: &'static str) -> Result<Option<&'h str>, ()> {
    let mut values = head.all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value).map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

fn origin_of(referer: &str) -> Option<String> {
    let origin = url::Url::parse(referer).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}
