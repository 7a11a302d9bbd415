//! Files that were cut, or changed on their way: whatever they are now, reading and compiling them comes to an end
//! and to words. A changed byte may well leave a valid module, which is why a destination can pin a hash.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{component, engine};

#[expect(
    unreachable_pub,
    dead_code,
    reason = "the file belongs to the tests' crate, where it is public"
)]
#[path = "../../../tests/src/core_module.rs"]
mod core_module;

/// Changed files in all.
const MUTATIONS: u64 = 2_000;
/// One of so many that still read is compiled too: that is what takes time.
const COMPILED: usize = 10;

/// A sequence that is the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % sides.max(1)
    }
}

fn mutate(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match dice.roll(8) {
        0 => bytes.truncate(dice.roll(whole.len())),
        1 => {
            let at = dice.roll(whole.len());
            bytes.drain(at..whole.len().min(at + 1 + dice.roll(64)));
        }
        2 => {
            let from = dice.roll(whole.len());
            let piece = whole[from..whole.len().min(from + dice.roll(64))].to_vec();
            let at = dice.roll(whole.len());
            bytes.splice(at..at, piece);
        }
        3 => {
            let at = dice.roll(whole.len());
            bytes[at] = 0xff;
        }
        _ => {
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(whole.len());
                bytes[at] ^= 1 << dice.roll(8);
            }
        }
    }
    bytes
}

fn try_all(whole: &[u8], engine: &Engine, seed: u64) {
    let mut dice = Dice(seed);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..MUTATIONS / 2 {
        match component::read(&mutate(whole, &mut dice)) {
            Err(problem) => {
                refused += 1;
                assert!(!problem.to_string().is_empty());
            }
            Ok(component) => {
                read += 1;
                if read % COMPILED == 0 {
                    // Refused or not: it must not panic.
                    let _either = Component::new(engine, component).is_ok();
                }
            }
        }
    }
    assert!(refused > 100 && read > COMPILED, "{refused} refused, {read} read");
}

#[test]
fn two_thousand_changed_files_are_read_or_refused() {
    let engine = engine::compiler().unwrap();
    let core = core_module::core_module();
    try_all(&core, &engine, 0x9e37_79b9_7f4a_7c15);
    try_all(&component::read(&core).unwrap(), &engine, 0xd1b5_4a32_d192_ed03);
}

#[test]
fn a_file_that_was_cut_is_refused_unless_only_its_last_sections_are_gone() {
    let core = core_module::core_module();
    let component = component::read(&core).unwrap();
    for whole in [core, component] {
        let reads = |length: &usize| component::read(&whole[..*length]).is_ok();
        let readable: Vec<usize> = (0..whole.len()).step_by(7).filter(reads).collect();
        assert!(readable.len() <= 3, "{readable:?} of {}", whole.len());
    }
}
