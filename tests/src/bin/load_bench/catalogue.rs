//! The scenarios by name.

use anyhow::Result;

use crate::report::Report;
use crate::setup::{Answers, Module, Setup, Store};
use crate::stage::Stage;
use crate::{alone, beside, drain, growth, quiet, steady};

/// One question to the daemon.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether a quick run asks it.
    pub(crate) quick: bool,
    pub(crate) setup: Setup,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Alone,
    Steady,
    /// Of so many notifications, in a full and in a quick run.
    Drain(usize, usize),
    Beside,
    Quiet,
    Hosts,
    Backlog,
    Stored,
    Destinations,
    Plugins,
}

const STORES: [(&str, Store); 2] = [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)];
const COUNTS: [(&str, usize); 2] = [("one", 1), ("ten", 10)];

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    [parts(), steadies(), languages(), drains(), others()].into_iter().flatten().collect()
}

fn parts() -> Vec<Scenario> {
    let setup = Setup::new(Store::Sqlite, 1);
    vec![Scenario { name: "parts".to_owned(), quick: true, setup, kind: Kind::Alone }]
}

fn steadies() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (setup, name) in bases() {
        let mut add = |more: &str, setup: Setup| {
            // Of ten, a quick run asks for those that get the same.
            let quick = more.is_empty() && setup.destinations == 1;
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
    for (name, store) in STORES {
        let fan_out = Setup { fan_out: true, ..Setup::new(store, 10) };
        for (more, reuse) in [("", false), ("-reused", true)] {
            let (name, setup) = (format!("fan-out-{name}{more}"), Setup { reuse, ..fan_out });
            all.push(Scenario { name, quick: !reuse, setup, kind: Kind::Steady });
        }
    }
    all
}

/// Those whose interpreters come with the module.
fn languages() -> Vec<Scenario> {
    let mut all = Vec::new();
    for language in ["js", "python"] {
        for (more, reuse) in [("", false), ("-reused", true)] {
            let module = Module::Example(language);
            let setup = Setup { module, reuse, ..Setup::new(Store::Sqlite, 1) };
            let name = format!("{language}{more}");
            all.push(Scenario { name, quick: false, setup, kind: Kind::Steady });
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
            let quick =
                (setup.destinations == 1) != reuse && (setup.store == Store::Postgres || !reuse);
            all.push(Scenario { name: format!("drain-{name}{more}"), quick, setup, kind });
        }
    }
    all
}

/// What takes long, or is not asked for often.
fn others() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (name, store) in STORES {
        let mut add = |what: &str, setup: Setup, kind| {
            all.push(Scenario { name: format!("{what}-{name}"), quick: false, setup, kind });
        };
        let (one, ten) = (Setup::new(store, 1), Setup::new(store, 10));
        add("sick", Setup { answers: Answers::EightOfTen, ..ten }, Kind::Beside);
        let fan_out = Setup { fan_out: true, ..ten };
        add("sick-fan-out", Setup { answers: Answers::EightOfTen, ..fan_out }, Kind::Beside);
        add("looping", Setup { looping: true, ..ten }, Kind::Beside);
        add("quiet", ten, Kind::Quiet);
        if store == Store::Postgres {
            add("hosts", ten, Kind::Hosts);
        }
        add("ten-plugins", Setup { plugins: 10, ..ten }, Kind::Steady);
        add("growth-backlog", ten, Kind::Backlog);
        add("growth-stored", one, Kind::Stored);
        add("growth-destinations", one, Kind::Destinations);
        add("growth-plugins", Setup { destinations: 200, ..one }, Kind::Plugins);
        add("million", ten, Kind::Drain(1_000_000, 100_000));
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
        let setup = self.setup;
        match self.kind {
            Kind::Alone => alone::run(stage, report, setup).await,
            Kind::Steady => steady::run(stage, report, setup).await,
            Kind::Drain(full, quick) => {
                let rows = stage.of(full, quick);
                drain::run(stage, report, setup, rows).await
            }
            Kind::Beside => beside::run(stage, report, setup).await,
            Kind::Quiet => quiet::run(stage, report, setup).await,
            Kind::Hosts => growth::hosts(stage, report, setup).await,
            Kind::Backlog => growth::backlog(stage, report, setup).await,
            Kind::Stored => growth::stored(stage, report, setup).await,
            Kind::Destinations => growth::destinations(stage, report, setup).await,
            Kind::Plugins => growth::plugins(stage, report, setup).await,
        }
    }
}
