//! How many calls a vendor has left for us, where a header field of its answers says so.

use http::{HeaderMap, HeaderName};
use prometheus::IntGaugeVec;

use crate::telemetry::Metrics;
use crate::web::FieldName;

/// The names in use, the standard's first (draft-ietf-httpapi-ratelimit-headers).
const USUAL: [&str; 5] = [
    "ratelimit",
    "ratelimit-remaining",
    "x-ratelimit-remaining",
    "x-rate-limit-remaining",
    "x-ratelimit-requests-remaining",
];

/// `valet_vendor_quota_remaining` of one provider. There is none until the vendor has said something: zero would be an alarm.
pub(super) struct Quota {
    provider: String,
    /// `quota_header`.
    named: Option<HeaderName>,
    gauge: IntGaugeVec,
}

impl Quota {
    pub(super) fn new(provider: &str, named: Option<&FieldName>, metrics: &Metrics) -> Self {
        let named = named.map(|field| field.name().clone());
        Self { provider: provider.to_owned(), named, gauge: metrics.vendor_quota_remaining.clone() }
    }

    /// Takes down what an answer says.
    pub(super) fn note(&self, headers: &HeaderMap) {
        if let Some(left) = remaining(headers, self.named.as_ref()) {
            self.gauge.with_label_values(&[&self.provider]).set(left);
        }
    }
}

/// Of several quotas the one that is used up first.
fn remaining(headers: &HeaderMap, named: Option<&HeaderName>) -> Option<i64> {
    let of = |name: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.filter_map(smallest).min()
    };
    match named {
        Some(named) => of(named.as_str()),
        None => USUAL.iter().find_map(|name| of(name)),
    }
}

/// `50`, `50, 1000`, `50;w=60`; `"burst";r=50;t=30`; `limit=100, remaining=50, reset=30`.
fn smallest(value: &str) -> Option<i64> {
    let number = |text: &str| text.trim().parse::<u32>().ok().map(i64::from);
    let marked = value.split([',', ';']).filter_map(|part| {
        let (name, left) = part.split_once('=')?;
        if matches!(name.trim(), "r" | "remaining") { number(left) } else { None }
    });
    let bare = value.split(',').filter_map(|part| number(part.split(';').next()?));
    marked.min().or_else(|| bare.min())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(fields: &[(&'static str, &'static str)], named: Option<&'static str>) -> Option<i64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remaining(&headers, named.map(HeaderName::from_static).as_ref())
    }

    #[test]
    fn what_is_left_is_read_in_each_usual_form() {
        for (name, value, left) in [
            ("ratelimit", "\"default\";r=50;t=30", Some(50)),
            ("ratelimit", "\"burst\";r=5, \"daily\";r=9000", Some(5)),
            ("ratelimit", "limit=100, remaining=50, reset=30", Some(50)),
            ("ratelimit-remaining", "49", Some(49)),
            ("x-ratelimit-remaining", "0", Some(0)),
            ("x-rate-limit-remaining", "48, 1000", Some(48)),
            ("x-ratelimit-remaining", "47;w=60", Some(47)),
            ("x-ratelimit-remaining", "many", None),
            ("x-ratelimit-remaining", "-1", None),
            ("x-ratelimit-limit", "100", None),
            ("ratelimit", "\"default\";q=100;w=60", None),
        ] {
            assert_eq!(found(&[(name, value)], None), left, "{name}: {value}");
        }
    }

    #[test]
    fn a_header_that_is_named_counts_alone() {
        let fields = [("x-ratelimit-remaining", "7"), ("x-calls-left", "3")];
        assert_eq!(found(&fields, Some("x-calls-left")), Some(3));
        assert_eq!(found(&fields[..1], Some("x-calls-left")), None);
        assert_eq!(found(&fields, None), Some(7));
    }
}
