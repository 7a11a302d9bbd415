//! Rounds in turn: what is compared is measured in pairs, so that what the machine does besides hits both alike.

use std::future::Future;

use anyhow::Result;

/// The rates of two things that were measured in turn.
pub(crate) struct Pairs {
    pub(crate) first: f64,
    pub(crate) second: f64,
    /// The second's share of the first: the median of the pairs'.
    pub(crate) ratio: f64,
}

/// Measures `first` and `second` in turn, `count` times each, in the order 1 2 2 1 1 2 …
pub(crate) async fn pairs<A, B>(
    count: usize,
    first: impl Fn() -> A,
    second: impl Fn() -> B,
) -> Result<Pairs>
where
    A: Future<Output = Result<f64>>,
    B: Future<Output = Result<f64>>,
{
    let (mut firsts, mut seconds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..count {
        let (a, b) = if round % 2 == 0 {
            let a = first().await?;
            (a, second().await?)
        } else {
            let b = second().await?;
            (first().await?, b)
        };
        firsts.push(a);
        seconds.push(b);
        ratios.push(b / a);
    }
    Ok(Pairs { first: median(firsts), second: median(seconds), ratio: median(ratios) })
}

/// The median of `count` rounds.
pub(crate) async fn rounds<F: Future<Output = Result<f64>>>(
    count: usize,
    round: impl Fn() -> F,
) -> Result<f64> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(round().await?);
    }
    Ok(median(values))
}

pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 1, 2)
}

/// The value below which `part` of `whole` lie; not a number where there are none.
pub(crate) fn quantile(mut values: Vec<f64>, part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get(values.len() * part / whole).or(values.get(last)).copied().unwrap_or(f64::NAN)
}

/// A count as a number to reckon with.
pub(crate) fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
