//! CORS preflight requests (Fetch standard, "CORS protocol"): what a page of another origin may send.

use std::borrow::Cow;

use crate::gateway::http1::head::Head;

/// What pages of an allowed origin may send.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Preflight {
    /// `Access-Control-Allow-Methods`.
    pub methods: Cow<'static, str>,
    /// `Access-Control-Allow-Headers`.
    pub fields: Cow<'static, str>,
}

const PLUGIN_METHODS: &str = "GET, POST";
const PLUGIN_FIELDS: &str = "authorization, content-type";

/// Fields that SDKs for tracing add to each `fetch` of a page (W3C Trace Context and Baggage, Sentry). A plug-in makes no use of them.
const TRACING: [&str; 4] = ["traceparent", "tracestate", "baggage", "sentry-trace"];

impl Preflight {
    /// For a plug-in: what a page needs there, and whatever is asked for of the fields for tracing.
    pub fn of_plugin(head: &Head<'_>) -> Self {
        let mut fields = Cow::Borrowed(PLUGIN_FIELDS);
        let asked = |known: &str| {
            head.all("access-control-request-headers")
                .flat_map(|list| list.split(|b| *b == b','))
                .any(|name| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
        };
        for known in TRACING.into_iter().filter(|known| asked(known)) {
            let fields = fields.to_mut();
            fields.push_str(", ");
            fields.push_str(known);
        }
        Self { methods: PLUGIN_METHODS.into(), fields }
    }

    /// For an app: the method and the fields that are asked for, for nobody else knows what the app takes. `None`: this is no preflight.
    pub fn of_app(head: &Head<'_>) -> Option<Self> {
        let mut methods = head.all("access-control-request-method");
        let (Some(method), None) = (methods.next(), methods.next()) else { return None };
        let mut fields = String::new();
        for name in head.all("access-control-request-headers").flat_map(|list| list.split(|b| *b == b',')) {
            let name = name.trim_ascii();
            if name.is_empty() {
                continue;
            }
            if !fields.is_empty() {
                fields.push_str(", ");
            }
            fields.push_str(token(name)?);
        }
        Some(Self { methods: token(method)?.to_owned().into(), fields: fields.into() })
    }
}

/// RFC 9110, section 5.6.2.
fn token(text: &[u8]) -> Option<&str> {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if text.is_empty() || !text.iter().all(good) {
        return None;
    }
    std::str::from_utf8(text).ok()
}
