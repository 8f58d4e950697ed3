//! Which files a reload looks at.

use super::*;
use crate::config::Sections;

#[test]
fn a_changed_key_file_of_a_transmitter_is_a_change_of_the_session() {
    let folder = folder();
    let text = format!(
        "{GOOD}[session.events]\n[[session.events.transmitter]]\nissuer = \"https://signals.example.com\"\n\
         audiences = [\"https://app.example.com\"]\nkeys = {{ pem_file = \"key.pem\" }}\n\
         subjects_of = \"https://idp.example.com\"\n"
    );
    let sections = || Sections::of(&Config::parse(&text, "valet.toml", folder.path()).unwrap());
    let before = sections();
    assert!(before.files().contains(&folder.path().join("key.pem")));
    assert!(before.changed(&sections()).is_empty());
    let path = folder.path().join("key.pem");
    std::fs::write(&path, format!("{}\n", std::fs::read_to_string(&path).unwrap())).unwrap();
    assert_eq!(before.changed(&sections()), ["session"]);
}

#[test]
fn policies_that_change_while_they_are_read_are_a_change_of_what_was_read() {
    let folder = folder();
    let directory = folder.path().join("policies");
    std::fs::create_dir(&directory).unwrap();
    let write = |text: &str| std::fs::write(directory.join("all.cedar"), text).unwrap();
    write("permit (principal, action, resource);\n");
    let text = format!("{GOOD}[policies]\ndirectory = \"policies\"\n");
    let parse = || Config::parse(&text, "valet.toml", folder.path()).unwrap();
    let read = parse();
    // Behind the reading of the policies, and before anything else is read.
    write("forbid (principal, action, resource);\n");
    let sections = Sections::of(&read);
    assert_eq!(sections.changed(&Sections::now(&read)), ["policies"]);
    assert_eq!(sections.changed(&Sections::of(&parse())), ["policies"]);
    write("permit (principal, action, resource);\n");
    assert!(sections.changed(&Sections::now(&read)).is_empty());
}
