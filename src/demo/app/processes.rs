//! Which processes there are, and which of them holds the key.

use std::fmt::Write;

use super::KEY;

/// By their process ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// The one that the browser talks to.
    pub front: u32,
    /// The minter's, if it is another.
    pub minter: Option<u32>,
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
        let Some(minter) = self.minter else {
            let also = "also in it: the app, the sign-in, and the vendor, who knows the key";
            return vec![Said { line: format!("gateway, process {}: holds the key", self.front), key: true, also }];
        };
        vec![
            Said {
                line: format!("edge, process {}: no key", self.front),
                key: false,
                also: "also in it: the app and the sign-in",
            },
            Said {
                line: format!("minter, process {minter}: holds the key"),
                key: true,
                also: "also in it: the vendor, who knows the key",
            },
        ]
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
        if self.minter.is_some() {
            markup.push_str("<p class=\"holds\">The edge asks the minter over HTTP/2, and each shows the other its certificate.</p>");
        }
        markup
    }
}
