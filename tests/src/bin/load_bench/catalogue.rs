//! The scenarios by name.

use anyhow::Result;

use crate::report::Report;
use crate::setup::{Answers, Setup, Store};
use crate::stage::Stage;
use crate::{drain, steady};

/// One question to the daemon.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether a quick run asks it.
    pub(crate) quick: bool,
    pub(crate) setup: Setup,
    kind: Kind,
}

enum Kind {
    Steady,
    /// Of so many notifications, in a full and in a quick run.
    Drain(usize, usize),
}

const STORES: [(&str, Store); 2] = [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)];
const COUNTS: [(&str, usize); 2] = [("one", 1), ("ten", 10)];

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    [steadies(), drains()].into_iter().flatten().collect()
}

fn steadies() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (setup, name) in bases() {
        let mut add = |more: &str, setup| {
            let quick = more.is_empty();
            all.push(Scenario { name: format!("{name}{more}"), quick, setup, kind: Kind::Steady });
        };
        add("", setup);
        add("-reused", Setup { reuse: true, ..setup });
        add("-nginx", Setup { answers: Answers::Nginx, ..setup });
        add("-failing", Setup { answers: Answers::NineOfTen, ..setup });
        if setup.destinations == 1 {
            add("-64k", Setup { content: 64 << 10, ..setup });
            add("-1m", Setup { content: 1 << 20, ..setup });
        }
    }
    all
}

fn drains() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (setup, name) in bases() {
        for (more, reuse) in [("", false), ("-reused", true)] {
            let setup = Setup { reuse, ..setup };
            let kind = Kind::Drain(100_000, 20_000);
            // Two minutes hold no more.
            let quick = (setup.destinations == 1) != reuse;
            all.push(Scenario { name: format!("drain-{name}{more}"), quick, setup, kind });
        }
    }
    all
}

/// One and ten destinations on each store, with their names.
fn bases() -> impl Iterator<Item = (Setup, String)> {
    STORES.into_iter().flat_map(|(store_name, store)| {
        COUNTS.into_iter().map(move |(count, destinations)| {
            (Setup::new(store, destinations), format!("{count}-{store_name}"))
        })
    })
}

impl Scenario {
    pub(crate) async fn run(&self, stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
        match self.kind {
            Kind::Steady => steady::run(stage, report, self.setup).await,
            Kind::Drain(full, quick) => {
                let rows = stage.of(full, quick);
                drain::run(stage, report, self.setup, rows).await
            }
        }
    }
}
