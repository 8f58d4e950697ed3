//! Import circles: files that name one another, round and round. A folder's own file and the files in the folder may: they are one thing.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{code_only, paths, without_tests};

/// The circle that stands, for a reason that its first file says.
const STANDS: [&str; 4] = ["server/generation", "server/build", "server/builder", "server/minter"];

/// Where each file looks, by their places: `src/lease/book.rs` is `lease/book`, `src/lease/mod.rs` is `lease`.
struct Looks<'f> {
    /// What each file names.
    named: BTreeMap<&'f str, Vec<Vec<String>>>,
    /// A name that a file takes from another, for whoever takes it from this one.
    passed_on: BTreeMap<(&'f str, String), Vec<String>>,
}

/// The circles among these files, each with its files in their order.
pub fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let looks = Looks::read(files);
    let arrows: BTreeMap<&str, BTreeSet<&str>> = looks.named.keys().map(|from| (*from, looks.of(from))).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|from| (*from, reach(from, &arrows))).collect();
    let mut found = BTreeSet::new();
    for (one, far) in &reached {
        let circle: Vec<&str> = far.iter().filter(|other| reached[**other].contains(one)).copied().collect();
        if circle.len() > 1 && !circle.iter().all(|place| STANDS.contains(place)) {
            found.insert(format!("a circle of imports: {}", circle.join(", ")));
        }
    }
    found.into_iter().collect()
}

/// Every file that is reached by arrows, itself only by a circle.
fn reach<'f>(from: &'f str, arrows: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> BTreeSet<&'f str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(place) = next.pop() {
        next.extend(arrows[place].iter().copied().filter(|target| reached.insert(*target)));
    }
    reached
}

impl<'f> Looks<'f> {
    fn read(files: &[(&'f str, &str)]) -> Self {
        let places: BTreeSet<&str> = files.iter().map(|(path, _)| place(path)).collect();
        let mut looks = Self { named: BTreeMap::new(), passed_on: BTreeMap::new() };
        for (path, text) in files {
            let own = place(path);
            let named = paths(&code_only(&without_tests(text)));
            let named: Vec<Vec<String>> =
                named.into_iter().filter_map(|named| absolute(own, &named.segments)).collect();
            for segments in &named {
                // A module is no name that is passed on.
                if let Some(name) = segments.last().filter(|_| !places.contains(segments.join("/").as_str())) {
                    looks.passed_on.insert((own, name.clone()), segments.clone());
                }
            }
            looks.named.insert(own, named);
        }
        looks
    }

    /// The files at which this one looks, but for those above and below it in its folder.
    fn of(&self, from: &'f str) -> BTreeSet<&'f str> {
        let targets = self.named[from].iter().filter_map(|segments| self.file(segments, 0));
        targets.filter(|target| *target != from && !is_above(target, from) && !is_above(from, target)).collect()
    }

    /// The file in which a name is defined, as far as uses lead to it.
    fn file(&self, segments: &[String], steps: usize) -> Option<&'f str> {
        let (at, place) = (1..=segments.len()).rev().find_map(|end| {
            let place = segments[..end].join("/");
            self.named.get_key_value(place.as_str()).map(|(place, _)| (end, *place))
        })?;
        let passed_on = segments.get(at).and_then(|name| self.passed_on.get(&(place, name.clone())));
        match passed_on.filter(|_| steps < 8) {
            Some(further) => self.file(&[further.as_slice(), &segments[at + 1..]].concat(), steps + 1),
            None => Some(place),
        }
    }
}

/// Whether a folder's own file is that of a folder in which the other one is.
fn is_above(folder: &str, place: &str) -> bool {
    place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn place(path: &str) -> &str {
    let place = path.strip_prefix("src/").unwrap_or(path);
    let place = place.strip_suffix(".rs").unwrap_or(place);
    place.strip_suffix("/mod").unwrap_or(place)
}

/// A path from the crate's root on; `None`: it begins elsewhere.
fn absolute(own: &str, segments: &[String]) -> Option<Vec<String>> {
    let up = segments.iter().take_while(|segment| *segment == "super").count();
    let base: Vec<String> = own.split('/').map(str::to_owned).collect();
    match segments.first()?.as_str() {
        "crate" => Some(segments[1..].to_vec()),
        "self" => Some([base.as_slice(), &segments[1..]].concat()),
        "super" => Some([base.get(..base.len().checked_sub(up)?)?, &segments[up..]].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_name_one_another_are_a_circle() {
        let one = ("src/a/one.rs", "use crate::a::two::Two;");
        let two = ("src/a/two.rs", "fn f() { super::three::go(); }");
        let three = ("src/a/three.rs", "use super::one::One;");
        assert_eq!(circles(&[one, two, three]), ["a circle of imports: a/one, a/three, a/two"]);
        assert!(circles(&[one, two, ("src/a/three.rs", "")]).is_empty());
    }

    #[test]
    fn a_name_that_a_folder_passes_on_leads_to_its_file() {
        let folder = ("src/a/mod.rs", "mod one;\nmod two;\npub use self::two::Two;");
        let (one, two) = (("src/a/one.rs", "use super::Two;"), ("src/a/two.rs", "use crate::a::one::One;"));
        assert_eq!(circles(&[folder, one, two]), ["a circle of imports: a/one, a/two"]);
    }

    #[test]
    fn a_folder_and_its_files_are_one_thing_and_tests_do_not_count() {
        let folder = ("src/a/mod.rs", "use self::one::One;");
        assert!(circles(&[folder, ("src/a/one.rs", "use super::A;")]).is_empty());
        let two = ("src/a/two.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::one::One;\n}");
        assert!(circles(&[("src/a/one.rs", "use super::two::Two;"), two]).is_empty());
    }
}
