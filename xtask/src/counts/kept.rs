//! Counts that are kept, and what is too far from them. Pure.

use std::collections::BTreeMap;

use anyhow::Result;

/// How far a count may be from the one that is kept, as a share of it.
const TOLERANCE: f64 = 0.04;
const REMEDY: &str = "cargo xtask bench count --update";
const HEAD: &str = "\
# Instructions of one delivery, as callgrind counts them: `cargo xtask bench count` fails where it counts otherwise, and
# `cargo xtask bench count --update` writes them anew. What they are of: docs/performance.md
";

/// Instructions of a delivery, by the name of the figure.
pub(super) type Counts = BTreeMap<String, u64>;

pub(super) fn parse(text: &str) -> Result<Counts> {
    Ok(toml::from_str(text)?)
}

/// The file that keeps these.
pub(super) fn file_of(counts: &Counts) -> String {
    let lines = counts.iter().map(|(name, count)| format!("{name} = {}\n", grouped(*count, '_')));
    HEAD.to_owned() + &lines.collect::<String>()
}

/// A count beside what is kept of it.
pub(super) fn beside(name: &str, count: u64, kept: Option<u64>) -> String {
    let kept = match kept {
        Some(kept) => format!("kept: {}, {:+.1} %", grouped(kept, ','), moved(kept, count) * 100.0),
        None => "none is kept".to_owned(),
    };
    format!("{name}: {} instructions a delivery ({kept})", grouped(count, ','))
}

/// A line for each count that is too far from what is kept, or has no other side. A count that fell is told as well: kept
/// as it was it would let as much be lost again.
pub(super) fn astray(kept: &Counts, counted: &Counts) -> Vec<String> {
    let tolerance = TOLERANCE * 100.0;
    let astray = counted.iter().filter_map(|(name, &count)| {
        let kept = kept.get(name).copied();
        let is_near = kept.is_some_and(|kept| moved(kept, count).abs() <= TOLERANCE);
        let beside = beside(name, count, kept);
        (!is_near).then(|| format!("{beside}; {tolerance} % are allowed, else: {REMEDY}"))
    });
    let gone = kept.keys().filter(|name| !counted.contains_key(*name));
    let gone = gone.map(|name| format!("{name}: it is kept, but nothing counts it: {REMEDY}"));
    astray.chain(gone).collect()
}

/// By which share of what is kept a count is more.
fn moved(kept: u64, count: u64) -> f64 {
    count as f64 / kept as f64 - 1.0
}

/// A number with its thousands apart.
fn grouped(number: u64, mark: char) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(mark);
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(counts: [(&str, u64); N]) -> Counts {
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let counts =
            counts([("queue", 271_828), ("sandbox-fresh", 999), ("dispatcher", 1_000_000)]);
        let file = file_of(&counts);
        assert_eq!(parse(&file).unwrap(), counts);
        let lines = file.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        assert_eq!(lines, ["dispatcher = 1_000_000", "queue = 271_828", "sandbox-fresh = 999"]);
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for text in ["queue = \"many\"", "queue = -1", "queue", "[queue]\nkept = 1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_within_the_tolerance_pass() {
        let kept = counts([("dispatcher", 100_000), ("queue", 200_000)]);
        let counted = counts([("dispatcher", 103_900), ("queue", 192_100)]);
        assert!(astray(&kept, &counted).is_empty());
    }

    #[test]
    fn what_is_too_far_up_or_down_is_named_with_the_remedy() {
        let kept = counts([("dispatcher", 100_000), ("queue", 1_200_000)]);
        let counted = counts([("dispatcher", 104_100), ("queue", 1_100_000)]);
        assert_eq!(
            astray(&kept, &counted),
            [
                "dispatcher: 104,100 instructions a delivery (kept: 100,000, +4.1 %); 4 % are allowed, else: \
                 cargo xtask bench count --update",
                "queue: 1,100,000 instructions a delivery (kept: 1,200,000, -8.3 %); 4 % are allowed, else: \
                 cargo xtask bench count --update",
            ]
        );
    }

    #[test]
    fn what_has_no_other_side_is_named() {
        let astray = astray(&counts([("old", 1)]), &counts([("new", 7)]));
        assert_eq!(
            astray,
            [
                "new: 7 instructions a delivery (none is kept); 4 % are allowed, else: \
                 cargo xtask bench count --update",
                "old: it is kept, but nothing counts it: cargo xtask bench count --update",
            ]
        );
    }
}
