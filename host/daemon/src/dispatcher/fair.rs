//! How destinations share the host's slots when there are not enough for all. Pure.
//!
//! Nobody knows what waits for a destination before it asks. So those that may have nothing ask for one first; what is
//! left goes to those whose last claim was filled, by max-min fairness: who holds the least gets the next. The last
//! eighth of all slots is for destinations that have nothing under way, one each, so that those whose receivers hang
//! never hold all of them.

/// One destination that could begin deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Deliveries that are under way.
    pub(super) holds: u32,
    /// Most that it would begin now.
    pub(super) wants: u32,
    /// Its last claim was filled: more waits, as far as one knows.
    pub(super) hungry: bool,
}

/// A host's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) all: u32,
    pub(super) free: u32,
    /// There is one destination only.
    pub(super) alone: bool,
}

impl Slots {
    /// The free ones that are for everybody.
    fn open(self) -> u32 {
        let kept = if self.alone { 0 } else { (self.all / 8).max(1) };
        self.free.saturating_sub(kept)
    }
}

/// Whether all get what they want.
pub(super) fn is_enough(wishes: &[Wish], slots: Slots) -> bool {
    let wanted: u64 = wishes.iter().map(|wish| u64::from(wish.wants)).sum();
    wanted <= u64::from(slots.open())
}

/// One each for those that have nothing under way, or of which nobody knows whether anything waits. Whose turn it is goes round with `turn`.
pub(super) fn first(wishes: &[Wish], slots: Slots, turn: usize) -> Vec<u32> {
    let mut given = vec![0; wishes.len()];
    one_each(wishes, &mut given, slots.free, turn, |wish, given| wish.holds + given == 0);
    let open = slots.open().saturating_sub(given.iter().sum());
    one_each(wishes, &mut given, open, turn, |wish, given| !wish.hungry && given == 0);
    given
}

/// The rest, for the hungry.
pub(super) fn then(wishes: &[Wish], slots: Slots, turn: usize) -> Vec<u32> {
    let open = slots.open();
    let level = level(wishes, open);
    let mut given: Vec<u32> = wishes.iter().map(|wish| wish.up_to(level)).collect();
    let odd = open.saturating_sub(given.iter().sum());
    one_each(wishes, &mut given, odd, turn, |wish, given| {
        wish.hungry && wish.holds + given == level
    });
    given
}

/// How many each of the hungry may hold where all slots but those that others hold are shared out among them: who holds less
/// begins its next without asking.
pub(super) fn share(wishes: &[Wish], slots: Slots) -> u32 {
    let hungry = || wishes.iter().filter(|wish| wish.hungry);
    let held: u32 = hungry().map(|wish| wish.holds).sum();
    let anew = hungry().map(|wish| Wish { holds: 0, wants: wish.holds + wish.wants, ..*wish });
    level(&anew.collect::<Vec<_>>(), slots.open().saturating_add(held))
}

/// Gives `rest` slots, one each, to those that want more and are next.
fn one_each(
    wishes: &[Wish],
    given: &mut [u32],
    mut rest: u32,
    turn: usize,
    is_next: impl Fn(&Wish, u32) -> bool,
) {
    let start = turn.checked_rem(wishes.len()).unwrap_or(0);
    for place in (start..wishes.len()).chain(0..start) {
        let (Some(wish), Some(given)) = (wishes.get(place), given.get_mut(place)) else { continue };
        if rest > 0 && *given < wish.wants && is_next(wish, *given) {
            *given += 1;
            rest -= 1;
        }
    }
}

impl Wish {
    /// What it gets where every hungry one may hold as many as `level`.
    fn up_to(self, level: u32) -> u32 {
        if self.hungry { level.saturating_sub(self.holds).min(self.wants) } else { 0 }
    }
}

/// The highest level up to which there is enough for all that are hungry.
fn level(wishes: &[Wish], open: u32) -> u32 {
    let fits = |level: u32| {
        let needed: u64 = wishes.iter().map(|wish| u64::from(wish.up_to(level))).sum();
        needed <= u64::from(open)
    };
    let highest = wishes.iter().map(|wish| wish.holds.saturating_add(wish.wants)).max();
    let (mut low, mut high) = (0, highest.unwrap_or(0));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hungry(holds: u32, wants: u32) -> Wish {
        Wish { holds, wants, hungry: true }
    }

    fn unknown(holds: u32, wants: u32) -> Wish {
        Wish { holds, wants, hungry: false }
    }

    fn slots(free: u32, all: u32) -> Slots {
        Slots { all, free, alone: false }
    }

    #[test]
    fn who_holds_the_least_gets_the_next() {
        let wishes = [hungry(6, 10), hungry(2, 10), hungry(0, 1), unknown(0, 64)];
        assert_eq!(then(&wishes, slots(7, 16), 0), [0, 4, 1, 0]);
        let alone = Slots { alone: true, ..slots(16, 24) };
        assert_eq!(then(&wishes, alone, 0), [6, 9, 1, 0]);
    }

    #[test]
    fn the_last_slots_are_for_those_that_have_none() {
        let wishes =
            [hungry(63, 64), unknown(0, 64), unknown(1, 64), unknown(0, 64), unknown(0, 9)];
        assert_eq!(first(&wishes, slots(2, 64), 0), [0, 1, 0, 1, 0]);
        assert_eq!(first(&wishes, slots(2, 64), 4), [0, 1, 0, 0, 1], "the next turn");
        assert_eq!(first(&wishes, slots(12, 64), 0), [0, 1, 1, 1, 1]);
        assert_eq!(then(&wishes, slots(8, 64), 0), [0; 5]);
    }

    #[test]
    fn a_destination_that_is_alone_takes_all() {
        let alone = Slots { alone: true, ..slots(7, 10) };
        assert_eq!(then(&[hungry(3, 64)], alone, 0), [7]);
        assert_eq!(then(&[], alone, 5), [0; 0]);
    }

    #[test]
    fn a_share_is_what_all_of_the_hungry_may_hold() {
        let wishes = [hungry(30, 34), hungry(10, 54), unknown(8, 1), hungry(3, 2)];
        let slots = slots(16, 64);
        assert_eq!(
            share(&wishes, slots),
            23,
            "8 of 16 are kept, 43 are held, 5 are enough for one"
        );
        assert_eq!(share(&[], slots), 0);
    }

    fn wishes() -> impl Strategy<Value = Vec<Wish>> {
        let one = (prop_oneof![Just(0), 0u32..100], 0u32..100, any::<bool>());
        let one = one.prop_map(|(holds, wants, hungry)| Wish { holds, wants, hungry });
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_it_wants_or_all_more_than_there_is(
            wishes in wishes(), free in 0u32..300, more in 0u32..300, alone: bool, turn in 0usize..50,
        ) {
            let slots = Slots { all: free + more, free, alone };
            for given in [first(&wishes, slots, turn), then(&wishes, slots, turn)] {
                prop_assert!(given.iter().sum::<u32>() <= free);
                prop_assert!(given.iter().zip(&wishes).all(|(given, wish)| *given <= wish.wants));
            }
        }

        /// Who gets less than it wants holds, to one, no less than anyone who got something in the end; and nothing is
        /// left over meanwhile.
        #[test]
        fn it_is_max_min_fair(wishes in wishes(), free in 0u32..300, turn in 0usize..50) {
            let slots = Slots { all: free, free, alone: true };
            let given = then(&wishes, slots, turn);
            let holds = |place: usize| wishes[place].holds + given[place];
            let hungry = |place: &usize| wishes[*place].hungry && given[*place] < wishes[*place].wants;
            for poor in (0..wishes.len()).filter(hungry) {
                prop_assert_eq!(given.iter().sum::<u32>(), free);
                for rich in (0..wishes.len()).filter(|&place| given[place] > 0) {
                    prop_assert!(holds(rich) <= holds(poor) + 1, "{wishes:?} {given:?}");
                }
            }
        }
    }
}
