//! OpenMetrics 1.0, the text format that Prometheus asks for first; and which format an `Accept` field asks for.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// `Content-Type` of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `Content-Type` of the Prometheus text format.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether an `Accept` field ([RFC 9110, section 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)) prefers OpenMetrics, or likes it as much as plain text.
pub fn prefers_open_metrics(accept: &str) -> bool {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0_f32, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        match name.as_str() {
            "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                open = open.max(quality);
            }
            "text/plain" | "text/*" => plain = plain.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

/// All families as OpenMetrics text.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for family in families {
        let kind = family.get_field_type();
        let name = match kind {
            // The family has the name without the ending that its samples have.
            MetricType::COUNTER => family.name().strip_suffix("_total").unwrap_or(family.name()),
            _ => family.name(),
        };
        let word = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            // There are none.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {word}", escape(family.help()));
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => {
                    sample(&mut out, (name, "_total"), metric, None, metric.get_counter().get_value());
                }
                MetricType::GAUGE => sample(&mut out, (name, ""), metric, None, metric.get_gauge().get_value()),
                _ => histogram(&mut out, name, metric),
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn histogram(out: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        // In the canonical form: `1.0`, not `1`.
        let bound = format!("{:?}", bucket.upper_bound());
        sample(out, (name, "_bucket"), metric, Some(&bound), bucket.cumulative_count() as f64);
    }
    let count = histogram.get_sample_count() as f64;
    sample(out, (name, "_bucket"), metric, Some("+Inf"), count);
    sample(out, (name, "_sum"), metric, None, histogram.get_sample_sum());
    sample(out, (name, "_count"), metric, None, count);
}

fn sample(out: &mut String, (name, ending): (&str, &str), metric: &Metric, bound: Option<&str>, value: f64) {
    let labels = metric.get_label().iter().map(|label: &LabelPair| (label.name(), label.value()));
    let labels: Vec<String> = labels
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "{name}{ending}{labels} {value}");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn prometheus_gets_open_metrics_and_a_browser_plain_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text; version=\"1.0.0\""] {
            assert!(prefers_open_metrics(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
        ] {
            assert!(!prefers_open_metrics(accept), "{accept}");
        }
    }

    #[test]
    fn counters_lose_their_ending_in_the_family_and_the_text_says_where_it_ends() {
        let registry = Registry::new();
        let asked = IntCounterVec::new(Opts::new("asked_total", "Line\nand \"quote\"."), &["who"]).unwrap();
        let took =
            Histogram::with_opts(HistogramOpts::new("took_seconds", "Time.").buckets(vec![0.5, 1.0, 2.5])).unwrap();
        registry.register(Box::new(asked.clone())).unwrap();
        registry.register(Box::new(took.clone())).unwrap();
        asked.with_label_values(&["a\\b\"c\n"]).inc();
        took.observe(0.75);
        let expected = "# HELP asked Line\\nand \\\"quote\\\".\n# TYPE asked counter\nasked_total{who=\"a\\\\b\\\"c\\n\"} 1\n\
                        # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
                        took_seconds_bucket{le=\"0.5\"} 0\ntook_seconds_bucket{le=\"1.0\"} 1\n\
                        took_seconds_bucket{le=\"2.5\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n\
                        took_seconds_sum 0.75\ntook_seconds_count 1\n# EOF\n";
        assert_eq!(encode(&registry.gather()), expected);
    }
}
