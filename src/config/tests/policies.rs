//! `[policies]`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

#[test]
fn a_directory_that_is_not_there_is_a_fault_of_the_key_that_names_it() {
    let text = format!("{GOOD}[policies]\ndirectory = \"nowhere\"\n");
    assert_faults(
        &text,
        &[
            "policies.directory: DIR/nowhere: the directory of policies can't be read: No such file or directory (os error 2) (an empty one denies everyone)",
        ],
    );
    let line = text.lines().count();
    assert!(lines(&text)[0].starts_with(&format!("{line}:13 policies.directory: ")), "{:?}", lines(&text));
}

#[test]
fn a_file_of_policies_whose_name_is_no_text_is_a_fault_and_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("open.cedar"), "permit(principal, action, resource);").unwrap();
    std::fs::write(folder.path().join(OsStr::from_bytes(b"\xff.txt")), "not ours").unwrap();
    assert!(policy_directory(folder.path(), None).is_ok());
    std::fs::write(folder.path().join(OsStr::from_bytes(b"\xff.cedar")), "forbid(principal, action, resource);")
        .unwrap();
    let faults = policy_directory(folder.path(), None).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].message, "has a name that is not UTF-8: rename it");
}
