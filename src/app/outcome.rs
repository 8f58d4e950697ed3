//! What an outcome (an answer, a failure, a health check) does to an upstream's outlier detection.

use std::sync::Arc;

use super::TARGET;
use super::endpoints::{Endpoints, Known};
use super::failure::words;
use super::health::Unwell;
use super::outlier_detection::Admission;
use super::settings::HealthSettings;
use super::upstream::Upstream;
use crate::http_client::Cause;

impl Endpoints {
    /// The head of an answer came. How many failures in a row it has wiped out.
    pub(super) fn succeeded(&self, upstream: &Arc<Upstream>, pass: Admission) -> u32 {
        let outlier_detection = &upstream.outlier_detection;
        if outlier_detection.is_untroubled() {
            return 0;
        }
        let known = self.known.lock();
        // A request from before the ejection says nothing of the time since.
        if !self.is_endpoint(upstream) || (pass == Admission::Normal && !outlier_detection.is_open()) {
            return 0;
        }
        if !outlier_detection.is_open() {
            tracing::info!(target: TARGET, app = %self.app, upstream = upstream.label, "upstream answers again");
        }
        outlier_detection.open();
        let wiped = outlier_detection.forgive();
        self.show(upstream, &known);
        wiped
    }

    /// `wiped`: failures in a row that a success of the same request has wiped out.
    pub(super) fn failed(&self, upstream: &Arc<Upstream>, pass: Admission, wiped: u32, why: Cause) {
        self.failures.note(&self.app, Some(&upstream.label), why, self.clock.tick());
        let known = self.known.lock();
        let outlier_detection = &upstream.outlier_detection;
        let is_failed_probe = pass == Admission::HalfOpenProbe && outlier_detection.is_on_trial();
        if !self.is_endpoint(upstream) || !(outlier_detection.is_open() || is_failed_probe) {
            return;
        }
        let failures = outlier_detection.count_failure(wiped);
        let is_enough = failures >= self.ejection.failures;
        let (app, label, why) = (&*self.app, upstream.label.as_str(), words(why));
        if is_enough && self.is_another_there(upstream) {
            outlier_detection.shut(self.clock.tick().plus(self.ejection.pause.0));
            self.metrics.upstream_ejections.with_label_values(&[app, label]).inc();
            if !is_failed_probe {
                tracing::warn!(target: TARGET, app, upstream = label, why, failures, "upstream fails and is left alone");
            }
        } else if is_enough {
            outlier_detection.open();
            if is_failed_probe || failures == self.ejection.failures {
                tracing::warn!(target: TARGET, app, upstream = label, why, failures, "upstream fails, and is the last");
            }
        }
        self.show(upstream, &known);
    }

    /// The app failed, and no upstream of it was at fault: no address is known, say.
    pub(super) fn note_failure(&self, cause: Cause) {
        self.failures.note(&self.app, None, cause, self.clock.tick());
    }

    /// It answered a health check 2xx in time; or why it counts as unwell.
    pub(super) fn answered(&self, upstream: &Arc<Upstream>, answer: Result<(), Unwell>, health: &HealthSettings) {
        let known = self.known.lock();
        let well = answer.is_ok();
        let enough = if well { health.healthy } else { health.unhealthy };
        if !self.is_endpoint(upstream) || !upstream.outlier_detection.answered(well, enough) {
            return;
        }
        let (app, label) = (&*self.app, &upstream.label);
        match answer {
            Ok(()) => {
                tracing::info!(target: TARGET, app, upstream = label, "upstream passes its health checks again");
            }
            Err(why) => {
                tracing::warn!(target: TARGET, app, upstream = label, why = %why, "upstream fails its health checks");
            }
        }
        self.show(upstream, &known);
    }

    /// One that DNS does not give any more may still answer what it was asked; nobody is told.
    fn is_endpoint(&self, upstream: &Arc<Upstream>) -> bool {
        self.list.load().iter().any(|endpoint| Arc::ptr_eq(endpoint, upstream))
    }

    fn is_another_there(&self, upstream: &Arc<Upstream>) -> bool {
        self.list
            .load()
            .iter()
            .any(|endpoint| !Arc::ptr_eq(endpoint, upstream) && endpoint.outlier_detection.is_there())
    }

    fn show(&self, upstream: &Upstream, known: &Known) {
        self.show_upstream(upstream, known);
        self.show_degraded(known);
    }

    /// Under the lock, as all that follows, so that a gauge never keeps the older of two states.
    pub(super) fn show_upstream(&self, upstream: &Upstream, _: &Known) {
        let labels = [&*self.app, &upstream.label];
        let is_up = upstream.outlier_detection.is_sound(self.ejection.failures);
        self.metrics.upstream_up.with_label_values(&labels).set(i64::from(is_up));
        // There from the first, at zero.
        self.metrics.upstream_ejections.with_label_values(&labels);
    }

    pub(super) fn show_degraded(&self, _: &Known) -> bool {
        let endpoints = self.list.load();
        // Without upstreams another proxy carries the requests.
        let is_sound = |upstream: &Arc<Upstream>| upstream.outlier_detection.is_sound(self.ejection.failures);
        let is_degraded = !self.targets.is_empty() && !endpoints.iter().any(is_sound);
        self.degraded.set(i64::from(is_degraded));
        is_degraded
    }

    /// Says again of all that is known how it is.
    pub(super) fn show_all(&self) {
        let known = self.known.lock();
        self.list.load().iter().for_each(|upstream| self.show_upstream(upstream, &known));
        self.show_degraded(&known);
    }

    /// Its lines leave the page of metrics: no request goes there any more.
    pub(super) fn forget_all(&self) {
        let known = self.known.lock();
        self.list.load().iter().for_each(|upstream| self.forget(upstream, &known));
    }

    /// Its lines leave the page of metrics: addresses may come and go without end.
    pub(super) fn forget(&self, upstream: &Upstream, _: &Known) {
        let labels = [&*self.app, &upstream.label];
        // That a line is gone already is no fault.
        self.metrics.upstream_up.remove_label_values(&labels).ok();
        self.metrics.upstream_ejections.remove_label_values(&labels).ok();
    }
}
