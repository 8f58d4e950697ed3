//! `[telemetry]`.

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::setting::FieldFault;

/// `[telemetry]`: traces and metrics for an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// The collector: OTLP over HTTP with protobuf, at `/v1/traces` and `/v1/metrics` below this. Without it nothing is sent.
    pub otlp: Option<String>,
    /// Of requests without a sampled parent this share is traced, from 0 to 1; refusals and mints always.
    pub sample: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { otlp: None, sample: 0.01 }
    }
}

impl TelemetrySettings {
    /// What is wrong with it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        if self.otlp.as_deref().is_some_and(|text| endpoint(text, "traces").is_none()) {
            faults
                .push(FieldFault::at("otlp", "expected the address of a collector such as \"http://127.0.0.1:4318\""));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            faults.push(FieldFault::at("sample", "expected a number from 0 to 1"));
        }
        faults
    }
}

/// Where a signal is sent (OTLP 1.5, "OTLP/HTTP Request"); `None`: that is no address of a collector.
pub(super) fn endpoint(otlp: &str, signal: &str) -> Option<Url> {
    let mut url = Url::parse(otlp).ok()?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !bare || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_path_below_the_collectors_address() {
        for (otlp, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(otlp, "traces").map(String::from).as_deref(), Some(traces));
        }
    }

    #[test]
    fn what_is_no_collector_and_no_share_is_a_fault() {
        for wrong in ["", "127.0.0.1:4318", "grpc://c:4317", "http://user:pass@c:4318", "http://c:4318?key=1"] {
            let settings = TelemetrySettings { otlp: Some(wrong.into()), sample: 0.5 };
            assert_eq!(settings.faults().first().map(|fault| &*fault.path), Some("otlp"), "{wrong}");
        }
        for wrong in [-0.1, 1.1, f64::NAN] {
            let settings = TelemetrySettings { otlp: None, sample: wrong };
            assert_eq!(settings.faults().first().map(|fault| &*fault.path), Some("sample"), "{wrong}");
        }
    }
}
