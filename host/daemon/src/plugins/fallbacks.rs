//! Whether fallbacks lead somewhere, and end.

use std::collections::{BTreeMap, BTreeSet};

use postrider_core::suggest;

use super::reload::Candidate;

/// Fallbacks that are no destinations, by the destination that names them.
pub(super) fn unknown(destinations: &BTreeMap<String, Candidate>) -> BTreeMap<String, String> {
    let found = destinations.iter().filter_map(|(name, candidate)| {
        let fallback = candidate.spec.fallback.iter().find(|f| !destinations.contains_key(*f))?;
        let near = suggest::nearest(fallback, destinations.keys().map(String::as_str));
        let meant = near.map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
        Some((name.clone(), format!("fallback \"{fallback}\" is not a destination{meant}")))
    });
    found.collect()
}

/// The way from a destination over fallbacks back to itself, if there is one.
pub(super) fn find_loop(
    from: &str,
    destinations: &BTreeMap<String, Candidate>,
) -> Option<(String, String)> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last().copied().unwrap_or(from);
        for next in destinations.get(last).into_iter().flat_map(|c| &c.spec.fallback) {
            if next == from {
                return Some((from.to_owned(), [&way[..], &[from]].concat().join(" -> ")));
            }
            if seen.insert(next.as_str()) {
                ways.push([&way[..], &[next]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::Destination;

    fn candidates(chains: &[(&str, &[&str])]) -> BTreeMap<String, Candidate> {
        let candidate = |(name, fallback): &(&str, &[&str])| {
            let text = format!("fallback = {fallback:?}");
            let spec = Destination::parse(name, &text).unwrap();
            ((*name).to_owned(), Candidate { spec, text, problem: None })
        };
        chains.iter().map(candidate).collect()
    }

    #[test]
    fn a_loop_of_fallbacks_is_found_and_a_diamond_is_none() {
        let looped = candidates(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(find_loop("a", &looped).unwrap().1, "a -> b -> c -> a");
        let diamond = candidates(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert!(diamond.keys().all(|name| find_loop(name, &diamond).is_none()));
    }

    #[test]
    fn an_unknown_fallback_is_named_with_the_nearest() {
        let found = unknown(&candidates(&[("email", &[]), ("chat", &["emial"])]));
        assert_eq!(
            found["chat"],
            "fallback \"emial\" is not a destination; did you mean \"email\"?"
        );
    }
}
