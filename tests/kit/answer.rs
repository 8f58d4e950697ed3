//! One answer, as its bytes were.

use serde_json::Value;

/// What came back for one request.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Head and body, byte for byte.
    pub raw: Vec<u8>,
}

impl Answer {
    /// The only field of this name, if there is one.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "two fields {name} in:\n{self}");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("no JSON ({fault}) in:\n{self}"))
    }

    /// Where a redirect leads, byte for byte.
    #[track_caller]
    pub fn location(&self) -> &str {
        self.field("location").unwrap_or_else(|| panic!("no Location in:\n{self}"))
    }

    /// `Retry-After` in seconds.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        let text = self.field("retry-after").unwrap_or_else(|| panic!("no Retry-After in:\n{self}"));
        text.parse().unwrap_or_else(|_| panic!("no seconds in Retry-After of:\n{self}"))
    }

    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "in:\n{self}");
        self
    }

    #[track_caller]
    pub fn assert_field(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.field(name), Some(value), "{name} in:\n{self}");
        self
    }

    #[track_caller]
    pub fn assert_no_field(&self, name: &str) -> &Self {
        assert_eq!(self.field(name), None, "{name} in:\n{self}");
        self
    }

    /// A problem of this status whose type ends so, with exactly the members of the contract.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, slug: &str) -> &Self {
        self.assert_status(status).assert_field("content-type", "application/problem+json");
        let problem = self.json();
        let id = self.field("x-request-id").unwrap_or_else(|| panic!("no id in:\n{self}"));
        assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with(&format!("/{slug}"))), "in:\n{self}");
        assert_eq!(problem["status"], status, "in:\n{self}");
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"), "in:\n{self}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "in:\n{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
