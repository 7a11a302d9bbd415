//! This run beside an earlier one: only ratios to yardsticks, since rates belong to their machine and hour.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How much of a ratio may be lost.
pub(crate) const ALLOWED: f64 = 0.15;

/// The figures of an earlier run's file.
pub(crate) fn read(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let mut whole: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let figures = whole.get_mut("figures").and_then(Value::as_array_mut);
    figures.map(std::mem::take).with_context(|| format!("{} has no figures", file.display()))
}

/// A line for each ratio of both runs that is worse than before by more than what is allowed.
pub(crate) fn fallen(earlier: &[Value], now: &[Value]) -> Vec<String> {
    now.iter().filter_map(|figure| fell(earlier, figure)).collect()
}

fn fell(earlier: &[Value], now: &Value) -> Option<String> {
    let better = now.get("better")?.as_str()?;
    let same =
        |other: &&Value| ["scenario", "figure"].iter().all(|key| other.get(*key) == now.get(*key));
    let value = |figure: &Value| figure.get("value").and_then(Value::as_f64);
    let (before, after) = (value(earlier.iter().find(same)?)?, value(now)?);
    let kept = if better == "higher" { after / before } else { before / after };
    let named = |key: &str| now.get(key).and_then(Value::as_str).unwrap_or_default();
    (kept < 1.0 - ALLOWED).then(|| {
        format!(
            "FELL {}: {}: {before:.3} before, {after:.3} now",
            named("scenario"),
            named("figure")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figure(name: &str, value: f64, better: Option<&str>) -> Value {
        json!({"scenario": "one", "figure": name, "value": value, "better": better})
    }

    #[test]
    fn a_ratio_that_fell_by_more_than_allowed_is_named() {
        let earlier = [figure("rate", 2.0, Some("higher")), figure("cpu", 5.0, Some("lower"))];
        let now = [figure("rate", 1.69, Some("higher")), figure("cpu", 5.9, Some("lower"))];

        let fallen = fallen(&earlier, &now);

        assert_eq!(
            fallen,
            ["FELL one: rate: 2.000 before, 1.690 now", "FELL one: cpu: 5.000 before, 5.900 now"]
        );
    }

    #[test]
    fn what_moved_less_or_got_better_or_is_no_ratio_passes() {
        let earlier = [
            figure("rate", 2.0, Some("higher")),
            figure("cpu", 5.0, Some("lower")),
            figure("per second", 9_000.0, None),
        ];
        let now = [
            figure("rate", 1.75, Some("higher")),
            figure("cpu", 2.0, Some("lower")),
            figure("per second", 10.0, None),
            figure("new", 0.1, Some("higher")),
        ];

        assert!(fallen(&earlier, &now).is_empty());
    }

    #[test]
    fn a_ratio_that_could_not_be_measured_is_not_compared() {
        let earlier = [figure("rate", 2.0, Some("higher"))];
        let now = [json!({"scenario": "one", "figure": "rate", "value": null, "better": "higher"})];

        assert!(fallen(&earlier, &now).is_empty());
    }
}
