//! What holds for every file.

use proptest::prelude::*;

use super::*;
use crate::lease::settings::Reuse;
use crate::units::Span;

/// Settings of a plug-in that keep every rule.
#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    path: String,
    max_age: u64,
    min_remaining: u64,
    refresh_ahead: Option<u64>,
    reuse: Reuse,
    languages: Vec<String>,
    skew: u64,
    cache: usize,
    audience: String,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let times = (3u64..=21_600)
        .prop_flat_map(|age| (Just(age), 0..age - 2))
        .prop_flat_map(|(age, remaining)| (Just(age), Just(remaining), prop::option::of(remaining + 1..age)));
    let reuse = prop_oneof![Just(Reuse::User), Just(Reuse::Session)];
    let names = ("[a-z][a-z0-9_-]{0,20}", "(/[a-z0-9._~-]{3,9}){1,4}", "\\PC{1,30}");
    let languages = prop::collection::btree_set("[a-z]{2}(-[a-z]{2})?", 0..5);
    (times, reuse, names, languages, 0u64..=300, 1usize..=100_000_000)
        .prop_filter("dots only", |(_, _, (_, path, _), _, _, _)| !path.contains(".."))
        .prop_map(|((max_age, min_remaining, refresh_ahead), reuse, (name, path, audience), languages, skew, cache)| {
            let languages = languages.into_iter().collect();
            Wanted { name, path, max_age, min_remaining, refresh_ahead, reuse, languages, skew, cache, audience }
        })
}

fn written(wanted: &Wanted) -> String {
    let reuse = match wanted.reuse {
        Reuse::User => "user",
        Reuse::Session => "session",
        Reuse::Never => "never",
    };
    let ahead = wanted.refresh_ahead.map_or(String::new(), |secs| format!("refresh_ahead = \"{secs}s\"\n"));
    let audience = toml::Value::String(wanted.audience.clone());
    GOOD.replace("[session]\n", &format!("[session]\nclock_skew = \"{}s\"\ncache = {}\n", wanted.skew, wanted.cache))
        .replace("[\"my-app\"]", &format!("[{audience}]"))
        .replace("name = \"face-scan\"\n", &format!("name = \"{}\"\n{ahead}", wanted.name))
        .replace("/plugins/face-scan", &wanted.path)
        .replace(
            "reuse = \"user\"",
            &format!(
                "reuse = \"{reuse}\"\nmax_age = \"{}s\"\nmin_remaining = \"{}\"\nlanguages = {:?}",
                wanted.max_age,
                Span::secs(wanted.min_remaining),
                wanted.languages
            ),
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(wanted in wanted()) {
        let text = written(&wanted);
        let config = parse(&text).map_err(|faults| TestCaseError::fail(format!("{}\n{text}", faults[0])))?;
        let plugin = &config.plugins[0];
        prop_assert_eq!(&plugin.name, &wanted.name);
        prop_assert_eq!(&plugin.path, &wanted.path);
        prop_assert_eq!(plugin.max_age, Span::secs(wanted.max_age));
        prop_assert_eq!(plugin.min_remaining, Span::secs(wanted.min_remaining));
        prop_assert_eq!(plugin.refresh_ahead, wanted.refresh_ahead.map(Span::secs));
        prop_assert_eq!(plugin.reuse, wanted.reuse);
        prop_assert_eq!(&plugin.languages, &wanted.languages);
        prop_assert_eq!(config.session.clock_skew, Span::secs(wanted.skew));
        prop_assert_eq!(config.session.cache, wanted.cache);
        prop_assert_eq!(&config.session.issuers[0].audiences[0], &wanted.audience);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = Config::parse(&text, "valet.toml", Path::new("/nowhere"));
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic_and_each_fault_is_one_line(
        cuts in prop::collection::vec((0usize..GOOD.len(), 0usize..12, "[\\[\\]{}=\"\n.,a-z0-9 é-]{0,6}"), 1..5)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, instead) in cuts {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let end = ((at + length).min(text.len())..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap();
            text.replace_range(at..end, &instead);
        }
        for fault in Config::parse(&text, "valet.toml", Path::new("/nowhere")).err().unwrap_or_default() {
            prop_assert_eq!(fault.to_string().lines().count(), 1);
            prop_assert!(fault.line >= 1 && fault.column >= 1);
        }
    }
}
