//! One measured number, and what it should be.

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// Which way a ratio gets better.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// One measured number.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
    /// Of ratios: they are compared with those of earlier runs.
    better: Option<Better>,
    beside: Vec<String>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let (name, beside) = (name.into(), Vec::new());
        Self { name, value, unit, goal: None, better: None, beside }
    }

    /// A rate in things a second.
    pub(crate) fn rate(name: impl Into<String>, value: f64) -> Self {
        Self::new(name, value, "/s")
    }

    /// A ratio to a yardstick of the same run that should be high.
    pub(crate) fn ratio(name: impl Into<String>, value: f64) -> Self {
        Self { better: Some(Better::Higher), ..Self::new(name, value, "x") }
    }

    /// A ratio to a yardstick of the same run that should be low.
    pub(crate) fn cost(name: impl Into<String>, value: f64) -> Self {
        Self { better: Some(Better::Lower), ..Self::new(name, value, "x") }
    }

    pub(crate) fn at_least(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(goal)), ..self }
    }

    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtMost(goal)), ..self }
    }

    pub(crate) fn beside(mut self, text: impl Into<String>) -> Self {
        self.beside.push(text.into());
        self
    }

    /// Whether it is as it should be; none where nothing is asked.
    pub(crate) fn met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.met(self.value))
    }

    /// The cells of its row in the table, after that of the scenario.
    pub(crate) fn cells(&self) -> [String; 5] {
        let goal = self.goal.map(Goal::text).unwrap_or_default();
        let verdict = self.met().map_or("", |met| if met { "met" } else { "MISSED" });
        let measured = format!("{} {}", number(self.value), self.unit);
        [self.name.clone(), measured, goal, verdict.to_owned(), self.beside.join("; ")]
    }

    pub(crate) fn json(&self, scenario: &str) -> Value {
        json!({
            "scenario": scenario,
            "figure": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal.map(Goal::text),
            "met": self.met(),
            "better": self.better.map(Better::text),
            "beside": self.beside,
        })
    }
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(goal) => format!(">= {}", number(goal)),
            Self::AtMost(goal) => format!("<= {}", number(goal)),
        }
    }
}

impl Better {
    fn text(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// As many digits as a reader takes in.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_the_file_says_how_it_is_compared() {
        let cost = Figure::cost("cpu", 7.5).at_most(7.0).beside("12 µs bare").json("one");
        let rate = Figure::rate("deliveries", 9.0).json("one");

        let expected = json!({
            "scenario": "one", "figure": "cpu", "value": 7.5, "unit": "x", "goal": "<= 7.00",
            "met": false, "better": "lower", "beside": ["12 µs bare"],
        });
        assert_eq!(cost, expected);
        assert_eq!(rate.get("better"), Some(&Value::Null));
    }

    #[test]
    fn what_could_not_be_measured_meets_no_goal() {
        assert_eq!(Figure::ratio("a", f64::NAN).at_least(1.0).met(), Some(false));
        assert_eq!(Figure::ratio("a", f64::NAN).met(), None);
    }
}
