//! Statements whose rows are parameters. SQLite wants to know how many when it compiles one, so each is there for 1, 4,
//! 16 rows and so on. A row that nothing is bound to is none.

/// One statement in `N` sizes.
pub(super) struct Sizes<const N: usize>(pub(super) [&'static str; N]);

impl<const N: usize> Sizes<N> {
    /// Rows of the largest.
    pub(super) const MOST: usize = 1 << (2 * (N - 1));

    /// The smallest for so many rows, which are no more than [`Self::MOST`].
    pub(super) fn holding(&self, rows: usize) -> &'static str {
        let sizes = self.0.iter().zip(0..).map(|(statement, place)| (*statement, 1 << (2 * place)));
        let mut fitting = sizes.filter(|(_, size): &(_, usize)| rows <= *size);
        fitting
            .next()
            .map(|(statement, _)| statement)
            .or(self.0.last().copied())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_holds_them_is_taken() {
        let sizes = Sizes(["1", "4", "16"]);
        let held = [0, 1, 2, 4, 5, 16].map(|rows| sizes.holding(rows));
        assert_eq!(held, ["1", "1", "4", "4", "16", "16"]);
        assert_eq!(Sizes::<3>::MOST, 16);
    }
}
