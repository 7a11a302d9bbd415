//! What happened, in order, and the first thing that must not have.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use postrider_core::settle::Settlement;

/// Most lines of a delivery's story in a report.
const LINES: usize = 60;

/// Events of all deliveries.
#[derive(Default)]
pub(super) struct Trace {
    events: Vec<Event>,
    broken: Option<(i64, &'static str)>,
}

struct Event {
    millis: i64,
    host: usize,
    delivery: i64,
    what: What,
}

pub(super) enum What {
    Claimed {
        token: i64,
        attempt: u32,
    },
    Extended {
        token: i64,
        lost: bool,
    },
    Settled {
        token: i64,
        settlement: Settlement,
        lost: bool,
    },
    Started {
        attempt: u32,
    },
    Answered {
        attempt: u32,
    },
    /// Of a host or of the world, not of a delivery.
    World(&'static str),
}

impl Trace {
    pub(super) fn add(&mut self, millis: i64, host: usize, delivery: i64, what: What) {
        self.events.push(Event { millis, host, delivery, what });
    }

    /// Notes what must not have happened to a delivery; the first counts.
    pub(super) fn broken(&mut self, delivery: i64, broken: impl IntoIterator<Item = &'static str>) {
        if let Some(first) = broken.into_iter().next() {
            self.broken.get_or_insert((delivery, first));
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// A number for the whole run: two runs that do the same have the same.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        for event in &self.events {
            (event.millis, event.host, event.delivery).hash(&mut digest);
            event.what.to_string().hash(&mut digest);
        }
        digest.finish()
    }

    /// What was broken, and the story of that delivery.
    pub(super) fn report(&self) -> Option<String> {
        let (delivery, broken) = self.broken?;
        let story: Vec<&Event> = self.events.iter().filter(|e| e.concerns(delivery)).collect();
        let mut report = format!("{broken} (delivery {delivery})\n");
        for event in story.iter().skip(story.len().saturating_sub(LINES)) {
            let seconds = event.millis / 1_000;
            let rest = event.millis % 1_000;
            writeln!(report, "{seconds:>6}.{rest:03} host {} {}", event.host, event.what).unwrap();
        }
        Some(report)
    }
}

impl Event {
    fn concerns(&self, delivery: i64) -> bool {
        self.delivery == delivery || matches!(self.what, What::World(_))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let but = |lost: &bool| if *lost { ", refused" } else { "" };
        match self {
            Self::Claimed { token, attempt } => write!(f, "claims {token}, attempt {attempt}"),
            Self::Extended { token, lost } => write!(f, "extends {token}{}", but(lost)),
            Self::Settled { token, settlement, lost } => {
                write!(f, "settles {token} as {settlement:?}{}", but(lost))
            }
            Self::Started { attempt } => write!(f, "starts attempt {attempt}"),
            Self::Answered { attempt } => write!(f, "has the answer of attempt {attempt}"),
            Self::World(what) => f.write_str(what),
        }
    }
}
