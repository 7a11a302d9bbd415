//! How many attempts may be young at once on a thread: few where receivers are quick, more where they are slow.
//!
//! Where hardly one of those that began ends young, to hold others back spares nothing: they wait for their receivers, and
//! not for each other. But many at once may be slow for no other reason than that they are many. So every now and then
//! they are few again, until it shows how they end then.

/// Young ones where receivers are quick.
pub(crate) const FEW: usize = 8;
/// And where they are slow.
const MANY: usize = 6 * FEW;
/// Those that begin in one look at how they end; as many begin before it, while those before them end.
const LOOK_AT: usize = 64;
/// One in this many ends young, or receivers are slow.
const QUICK: usize = 8;
/// Those that begin while there are many, before there are few again.
const A_WHILE: usize = 16 * LOOK_AT;

/// How those that began of late have ended.
#[derive(Default)]
pub(crate) struct Crowd {
    /// Receivers were slow when there were few.
    is_slow: bool,
    begun: usize,
    ended_young: usize,
}

impl Crowd {
    /// How many may be young now.
    pub(crate) fn most(&self) -> usize {
        if self.is_slow { MANY } else { FEW }
    }

    pub(crate) fn begin(&mut self) {
        self.begun += 1;
        match (self.is_slow, self.begun) {
            (true, A_WHILE) => *self = Self::default(),
            (false, LOOK_AT) => self.ended_young = 0,
            (false, n) if n == 2 * LOOK_AT => {
                let is_slow = self.ended_young * QUICK < LOOK_AT;
                *self = Self { is_slow, begun: if is_slow { 0 } else { LOOK_AT }, ended_young: 0 };
            }
            _ => {}
        }
    }

    pub(crate) fn end_young(&mut self) {
        self.ended_young += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins as many, of which one in `young` ends young; tells how many of them could be young at once.
    fn run(crowd: &mut Crowd, begun: usize, young: Option<usize>) -> Vec<usize> {
        let one = |number: usize| {
            crowd.begin();
            if young.is_some_and(|young| number.is_multiple_of(young)) {
                crowd.end_young();
            }
            crowd.most()
        };
        (0..begun).map(one).collect()
    }

    #[test]
    fn quick_receivers_have_few_for_ever() {
        for young in [1, 2, QUICK] {
            let most = run(&mut Crowd::default(), 4 * A_WHILE, Some(young));
            assert!(most.iter().all(|most| *most == FEW), "one in {young}");
        }
    }

    #[test]
    fn slow_ones_have_many_most_of_the_time() {
        for young in [None, Some(2 * QUICK)] {
            let most = run(&mut Crowd::default(), 8 * A_WHILE, young);
            let many = most.iter().filter(|most| **most == MANY).count();
            assert!(many > 6 * A_WHILE && many < 8 * A_WHILE, "{young:?}: {many}");
        }
    }

    #[test]
    fn receivers_that_become_quick_have_few_within_a_while() {
        let mut crowd = Crowd::default();
        run(&mut crowd, 3 * LOOK_AT, None);
        assert_eq!(crowd.most(), MANY);
        // As long as there are many, they may seem slow.
        run(&mut crowd, A_WHILE - LOOK_AT, None);
        assert_eq!(crowd.most(), FEW);
        assert!(run(&mut crowd, 4 * A_WHILE, Some(1)).iter().all(|most| *most == FEW));
    }
}
