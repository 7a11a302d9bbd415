//! Numbers made of many.

/// The values in order, for percentiles.
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least `share` of all are not above; not a number where there are none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.max(1) - 1).or(self.0.last()).copied().unwrap_or(f64::NAN)
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = Sorted::of(values.into_iter().collect());
    let half = sorted.len() / 2;
    let at = |place: usize| sorted.0.get(place).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted = Sorted::of((1..=200).rev().map(f64::from).collect());

        let at = [0.0, 0.5, 0.95, 0.99, 1.0].map(|share| sorted.percentile(share));

        assert_eq!(at, [1.0, 100.0, 190.0, 198.0, 200.0]);
    }

    #[test]
    fn of_nothing_there_is_no_percentile_and_no_median() {
        assert!(Sorted::of(Vec::new()).percentile(0.5).is_nan());
        assert!(median([]).is_nan());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0])), (2.0, 2.5));
    }
}
