//! The metrics of `/metrics` as OTLP writes them, by their names.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::{Metric as Sample, MetricFamily, MetricType};

use super::{attribute, scope, text};

/// From when to when, in nanoseconds since the epoch.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub start: u64,
    pub now: u64,
}

/// One message with all of them.
pub(super) fn message(resource: &Resource, families: &[MetricFamily], span: Span) -> ExportMetricsServiceRequest {
    let metrics = families.iter().filter_map(|family| metric(family, span)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics, schema_url: String::new() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(family: &MetricFamily, span: Span) -> Option<Metric> {
    let samples = family.get_metric();
    let numbers =
        |value: fn(&Sample) -> f64| samples.iter().map(|sample| number(sample, value(sample), span)).collect();
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(|sample| sample.get_counter().get_value()),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge { data_points: numbers(|sample| sample.get_gauge().get_value()) }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: samples.iter().map(|sample| histogram(sample, span)).collect(),
            aggregation_temporality: cumulative,
        }),
        // There are none.
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let name = family.name();
    let bare = name.trim_end_matches("_total");
    let unit = [("_seconds", "s"), ("_bytes", "By")].into_iter().find(|(ending, _)| bare.ends_with(ending));
    Some(Metric {
        name: name.to_owned(),
        description: family.help().to_owned(),
        unit: unit.map_or("1", |(_, unit)| unit).to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    })
}

fn labels(sample: &Sample) -> Vec<KeyValue> {
    sample.get_label().iter().map(|label| attribute(label.name(), text(label.value()))).collect()
}

fn number(sample: &Sample, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(sample),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(sample: &Sample, span: Span) -> HistogramDataPoint {
    let histogram = sample.get_histogram();
    let finite: Vec<_> = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()).collect();
    let count = histogram.get_sample_count();
    // Prometheus counts what is below each bound, OTLP what is between two.
    let below = finite.iter().map(|bucket| bucket.cumulative_count()).chain([count]);
    let mut before = 0;
    let between = below.map(|below| below.saturating_sub(std::mem::replace(&mut before, below)));
    HistogramDataPoint {
        attributes: labels(sample),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: between.collect(),
        explicit_bounds: finite.iter().map(|bucket| bucket.upper_bound()).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram as Observed, HistogramOpts, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn a_histogram_is_told_by_what_lies_between_its_bounds_and_a_counter_by_its_name() {
        let registry = Registry::new();
        let took = Observed::with_opts(HistogramOpts::new("took_seconds", "Time.").buckets(vec![0.5, 1.0])).unwrap();
        let asked = IntCounterVec::new(Opts::new("asked_total", "Asked."), &["who"]).unwrap();
        registry.register(Box::new(took.clone())).unwrap();
        registry.register(Box::new(asked.clone())).unwrap();
        [0.1, 0.2, 0.7, 3.0].into_iter().for_each(|seconds| took.observe(seconds));
        asked.with_label_values(&["ada"]).inc_by(3);
        let message = message(&Resource::default(), &registry.gather(), Span { start: 1, now: 2 });
        let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(metrics.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["asked_total", "took_seconds"]);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("no sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points[0].value, Some(Value::AsDouble(3.0)));
        let Some(Data::Histogram(histogram)) = &metrics[1].data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!(
            (point.count, &point.bucket_counts[..], &point.explicit_bounds[..]),
            (4, &[2, 1, 1][..], &[0.5, 1.0][..])
        );
        assert_eq!((metrics[1].unit.as_str(), point.start_time_unix_nano, point.time_unix_nano), ("s", 1, 2));
    }
}
