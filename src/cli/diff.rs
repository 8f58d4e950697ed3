//! `valet diff`.

use std::path::Path;

use super::fortify::fortify;
use super::{End, say};
use crate::config::{self, Config, Sections};
use crate::server::needs_new_process;

pub(super) fn diff(old: &Path, new: &Path) -> Result<(), End> {
    fortify()?;
    let load = |path: &Path| config::load(path).map_err(|faults| End::config(&faults));
    let (before, next) = (load(old)?, load(new)?);
    let text = |path: &Path| config::text(path).map_err(|fault| End::config(&[fault]));
    let mut lines = config::diff(&text(old)?, &text(new)?);
    let named: Vec<String> = Sections::of(&before).changed(&Sections::of(&next));
    for section in &named {
        let told = |line: &String| line[2..].starts_with(section.as_str());
        if !lines.iter().any(told) && same_directory(&before, &next) {
            lines.push(format!("~ {section}: a file that it names has another content"));
        }
    }
    lines.extend(needs_new_process(&before, &next).into_iter().map(|fault| format!("! {fault}")));
    if lines.is_empty() {
        lines.push("no difference".to_owned());
    }
    lines.iter().for_each(|line| say(line));
    Ok(())
}

/// Two files of one folder name the same files by the same names.
fn same_directory(before: &Config, next: &Config) -> bool {
    before.directory == next.directory
}
