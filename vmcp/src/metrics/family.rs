//! Metric families in the making.
//!
//! Owns the shape that the `prometheus` crate writes out: names, help, types, labels. Never counts.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::tally::TimesView;

/// Labels of one series.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families by name.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<&'static str, MetricFamily>);

/// Name and help of a family.
pub type Named = (&'static str, &'static str);

impl Families {
    pub fn gauge(&mut self, named: Named, labels: Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.push(named, MetricType::GAUGE, metric);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the exposition format has floats only"
    )]
    pub fn counter(&mut self, named: Named, labels: Labels<'_>, value: u64) {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.push(named, MetricType::COUNTER, metric);
    }

    pub fn histogram(&mut self, named: Named, labels: Labels<'_>, view: &TimesView) {
        let buckets = view.buckets.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(view.count);
        histogram.set_sample_sum(view.sum);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.push(named, MetricType::HISTOGRAM, metric);
    }

    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }

    fn push(&mut self, (name, help): Named, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}
