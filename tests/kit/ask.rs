//! A request, said in words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answer::Answer;
use super::stack::Stack;
use super::wire::Wire;
use super::{FACE_SCAN, HOST};

/// A request to be sent on a connection of its own.
#[derive(Clone)]
pub struct Ask<'s> {
    stack: &'s Stack,
    method: String,
    target: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Stack {
    pub fn ask(&self, method: &str, target: &str) -> Ask<'_> {
        Ask {
            stack: self,
            method: method.to_owned(),
            target: target.to_owned(),
            host: HOST.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(&self, target: &str) -> Ask<'_> {
        self.ask("GET", target)
    }

    pub fn post(&self, target: &str) -> Ask<'_> {
        self.ask("POST", target)
    }

    /// The plug-in URL of this user.
    pub async fn url_of(&self, user: &str) -> String {
        let answer = self.get(FACE_SCAN).as_user(user).send().await;
        answer.assert_status(302).location().to_owned()
    }
}

impl Ask<'_> {
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        Self { body: body.as_ref().to_vec(), ..self }
    }

    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.field("Authorization", format!("Bearer {}", token.as_ref()))
    }

    #[must_use]
    pub fn cookie(self, token: impl AsRef<str>) -> Self {
        self.field("Cookie", format!("session={}", token.as_ref()))
    }

    /// With this user's token in `Authorization`.
    #[must_use]
    pub fn as_user(self, user: &str) -> Self {
        let token = self.stack.token(user);
        self.bearer(token)
    }

    /// With this user's token in the cookie.
    #[must_use]
    pub fn as_browser_of(self, user: &str) -> Self {
        let token = self.stack.token(user);
        self.cookie(token)
    }

    #[must_use]
    pub fn for_json(self) -> Self {
        self.field("Accept", "application/json")
    }

    /// As a browser opens a page.
    #[must_use]
    pub fn as_navigation(self) -> Self {
        self.field("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .field("Sec-Fetch-Mode", "navigate")
            .field("Sec-Fetch-Dest", "document")
            .field("Sec-Fetch-Site", "none")
    }

    /// As a browser opens a page in a frame; `site` is what `Sec-Fetch-Site` says.
    #[must_use]
    pub fn in_frame_of(self, site: &str) -> Self {
        self.field("Accept", "text/html")
            .field("Sec-Fetch-Mode", "navigate")
            .field("Sec-Fetch-Dest", "iframe")
            .field("Sec-Fetch-Site", site)
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.fields {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            out.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        out.push_str("\r\n");
        [out.as_bytes(), &self.body].concat()
    }

    /// Sends it; the answer comes by [`Sent::answer`].
    pub async fn start(&self) -> Sent {
        let mut wire = self.stack.wire().await;
        wire.write(self.bytes()).await;
        Sent { wire, method: self.method.clone() }
    }

    pub async fn send(&self) -> Answer {
        self.start().await.answer().await
    }
}

/// A request that is under way. Dropped: the client is gone.
pub struct Sent {
    pub wire: Wire,
    method: String,
}

impl Sent {
    pub async fn answer(&mut self) -> Answer {
        let method = self.method.clone();
        self.wire.answer_to(&method).await
    }
}

/// `Basic` credentials.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
