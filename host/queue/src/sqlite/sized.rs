//! Statements whose rows are parameters. SQLite wants to know how many when it compiles one, so each is there for 1, 4,
//! 16 rows and so on. A row that nothing is bound to is none.

/// One statement in its sizes, the smallest first.
pub(super) struct Sizes(pub(super) &'static [&'static str]);

impl Sizes {
    /// Rows of the largest.
    pub(super) fn most(&self) -> usize {
        1 << (2 * self.0.len().saturating_sub(1))
    }

    /// The smallest for so many rows, which are no more than [`Sizes::most`].
    pub(super) fn holding(&self, rows: usize) -> &'static str {
        let mut sizes = self.0.iter().zip(0..);
        let fitting = sizes.find(|(_, place)| rows <= 1 << (2 * place));
        fitting.map(|(statement, _)| statement).or(self.0.last()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_holds_them_is_taken() {
        let sizes = Sizes(&["1", "4", "16"]);
        let held = [0, 1, 2, 4, 5, 16].map(|rows| sizes.holding(rows));
        assert_eq!(held, ["1", "1", "4", "4", "16", "16"]);
        assert_eq!(sizes.most(), 16);
    }
}
