//! Whole sets of policies, asked.

mod broken;
mod decisions;
mod properties;

use std::sync::Arc;

use super::case::{Case, CasesFile};
use super::settings::ClaimsFile;
use super::{Compiled, Fault, Policies, Source, compile};
use crate::clock::Timestamp;

/// 2026-12-01T09:00:00Z
const NOW: Timestamp = Timestamp::from_secs(1_796_115_600);

const CLAIMS: &str =
    "groups = \"groups\"\n[claims]\nemail = \"string\"\nlevel = \"integer\"\nstaff = \"boolean\"\nroles = \"set\"\n";

fn claims() -> ClaimsFile {
    toml::from_str(CLAIMS).unwrap()
}

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(file, text)| Source { file: (*file).into(), text: (*text).into() }).collect()
}

fn compiled(files: &[(&str, &str)]) -> Compiled {
    compile(&sources(files), Some(&claims()), None)
}

fn set(text: &str) -> Arc<Policies> {
    let compiled = compiled(&[("a.cedar", text)]);
    assert_eq!(compiled.faults, Vec::<Fault>::new());
    Arc::new(compiled.policies.unwrap())
}

/// Each of the cases in TOML, without `[[case]]` and name.
fn case(text: &str) -> Case {
    let file: CasesFile = toml::from_str(&format!("[[case]]\nname = \"case\"\n{text}")).unwrap();
    let case = file.cases.into_iter().next().unwrap();
    assert_eq!(case.faults(&claims(), None, None), vec![], "{text}");
    case
}
