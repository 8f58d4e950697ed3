//! Which process holds the key.

use std::fmt::Write;

use super::KEY;

/// By its process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// The one that the browser talks to.
    pub front: u32,
}

/// What there is to say of one process.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Who it is, and whether it holds the key.
    pub line: String,
    /// Whether it holds the key.
    pub key: bool,
    /// What else runs in it.
    pub also: &'static str,
}

impl Processes {
    /// In the order in which a request meets them.
    pub fn told(&self) -> Vec<Said> {
        let also = "also in it: the app, the sign-in, and the vendor, who knows the key";
        vec![Said { line: format!("gateway, process {}: holds the key", self.front), key: true, also }]
    }

    /// A box for each. Numbers and our own words: nothing in it comes from outside.
    pub(super) fn markup(&self) -> String {
        let mut markup = String::from("<ul class=\"processes\">");
        for Said { line, key, also } in self.told() {
            let (class, drawn) = if key { ("holder", KEY) } else { ("bare", "") };
            // Writing into a String can't fail.
            let _ = write!(markup, "<li class=\"{class}\"><strong>{drawn}{line}</strong> <span>{also}</span></li>");
        }
        markup.push_str("</ul>");
        markup
    }
}
