//! Where the scenarios play: the receivers, the cluster, and how daemons are started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use postrider_test_postgres::binaries::Binaries;
use postrider_test_postgres::pgbench::Pgbench;
use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::House;
use tokio::task::block_in_place;

use crate::arguments::Arguments;
use crate::bare::{self, Bare};
use crate::running::Running;
use crate::setup::{Answers, Module, Setup, Store};
use crate::target::{Counter, Target};
use crate::yardsticks::CLIENTS;

pub(crate) struct Stage<'a> {
    pub(crate) quick: bool,
    pub(crate) huge: bool,
    concurrency: Option<u32>,
    cluster: Option<&'a Cluster>,
    pgbench: Option<Pgbench<'a>>,
    receiver: Target,
    nginx: Option<Target>,
    /// What modules are when they are compiled, so that no daemon compiles again.
    compiled: House,
    databases: u32,
    /// Where `cargo xtask examples` left its projects.
    examples: Option<PathBuf>,
}

/// Where the compiled modules are, below.
const COMPILED: &str = "cache/postrider/modules";
/// The variable that says where, as for the test of the examples.
const EXAMPLES: &str = "POSTRIDER_TEST_EXAMPLES";

/// A cluster as durable as an operator's; none where PostgreSQL is not installed.
pub(crate) fn cluster() -> Result<Option<Cluster>> {
    let start = |_| block_in_place(|| Cluster::start(Settings::durable()));
    Binaries::find().map(start).transpose()
}

impl<'a> Stage<'a> {
    pub(crate) async fn set_up(
        arguments: &Arguments,
        cluster: Option<&'a Cluster>,
    ) -> Result<Self> {
        let fill = |cluster| block_in_place(|| Pgbench::new(cluster));
        let pgbench = cluster.map(fill).transpose()?.flatten();
        let compiled = House::new();
        for guest in ["webhook", "fixture"] {
            compiled.put_module(guest, guest);
        }
        compiled.start().await.kill().await;
        Ok(Self {
            quick: arguments.quick,
            huge: arguments.huge,
            concurrency: arguments.concurrency,
            cluster,
            pgbench,
            receiver: Target::start().await?,
            nginx: Target::nginx().await?,
            compiled,
            databases: 0,
            examples: std::env::var_os(EXAMPLES).map(PathBuf::from),
        })
    }

    /// What this machine has not, of what is needed.
    pub(crate) fn lacks(&self, setup: &Setup) -> Option<String> {
        if setup.store == Store::Postgres && self.cluster.is_none() {
            return Some("PostgreSQL is not installed".to_owned());
        }
        if setup.answers == Answers::Nginx && self.nginx.is_none() {
            return Some("nginx is not installed".to_owned());
        }
        if let Module::Example(language) = setup.module
            && !self.example(language).is_file()
        {
            return Some(format!("not built: cargo xtask examples {language}"));
        }
        None
    }

    /// A directory on the disk that everything lies on.
    pub(crate) fn directory(&self) -> &Path {
        self.compiled.path()
    }

    /// How long a yardstick is measured at a time.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(if self.quick { 500 } else { 1_000 })
    }

    /// `full`, or a part of it in a quick run.
    pub(crate) fn of<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Starts daemons that nothing was handed in to.
    pub(crate) async fn start(&mut self, setup: Setup) -> Result<Running> {
        let database = self.database(setup.store)?;
        let (mut daemons, mut houses) = (Vec::new(), Vec::new());
        for _ in 0..setup.hosts {
            let house = House::new();
            match (&self.examples, setup.module) {
                (Some(examples), Module::Example(_)) => {
                    house.take_compiled_from(&examples.join(COMPILED));
                }
                _ => house.take_compiled(&self.compiled),
            }
            self.furnish(&house, &setup);
            let mut command = house.command();
            command.args(["serve", "--listen", "127.0.0.1:0"]);
            command.envs(database.iter().map(|database| ("POSTRIDER_DATABASE", database)));
            daemons.push(house.start_command(command).await);
            houses.push(house);
        }
        let says = setup.says(self.concurrency);
        Ok(Running::new(setup, daemons, says, houses))
    }

    pub(crate) fn receiver(&self, setup: &Setup) -> SocketAddr {
        self.target(setup).address
    }

    pub(crate) async fn counter(&self, setup: &Setup) -> Counter {
        self.target(setup).counter().await
    }

    /// The bare client with what this setup's daemon sends.
    pub(crate) fn bare(&self, setup: &Setup) -> Result<Bare> {
        bare::measure(self.target(setup).address, &setup.content(), self.slice())
    }

    /// What `pgbench -N` does on the cluster; none where there is none.
    pub(crate) fn transactions(&self) -> Result<Option<f64>> {
        let length = Duration::from_secs(2);
        let run =
            |pgbench: &Pgbench<'_>| block_in_place(|| pgbench.simple_updates(CLIENTS, length));
        self.pgbench.as_ref().map(run).transpose()
    }

    /// The URL of a fresh database of PostgreSQL.
    pub(crate) fn database(&mut self, store: Store) -> Result<Option<String>> {
        if store == Store::Sqlite {
            return Ok(None);
        }
        self.databases += 1;
        let name = format!("load_{}", self.databases);
        let cluster = self.cluster.context("PostgreSQL is not installed")?;
        block_in_place(|| cluster.create_database(&name)).map(Some)
    }

    fn target(&self, setup: &Setup) -> &Target {
        let nginx = self.nginx.as_ref().filter(|_| setup.answers == Answers::Nginx);
        nginx.unwrap_or(&self.receiver)
    }

    fn example(&self, language: &str) -> PathBuf {
        let name = format!("chat-{language}");
        let examples = self.examples.clone().unwrap_or_default();
        examples.join("projects").join(&name).join(format!("{name}.wasm"))
    }

    /// Puts modules and destinations into the plugins directory.
    fn furnish(&self, house: &House, setup: &Setup) {
        let receiver = self.target(setup).address;
        for number in 0..setup.plugins {
            match setup.module {
                Module::Webhook => house.put_module("webhook", &format!("m{number}")),
                Module::Example(language) => {
                    let module = std::fs::read(self.example(language)).expect("a built example");
                    house.put(&format!("m{number}.wasm"), module);
                }
            }
        }
        for place in 0..setup.destinations {
            let toml = setup.destination(place, receiver, self.concurrency);
            house.put(&format!("d{place}.toml"), toml);
        }
        if setup.held {
            house.put(
                "held.toml",
                "plugin = \"m0\"\nmatch.type = \"held\"\nconfig.url = \"http://127.0.0.1:1\"\n",
            );
        }
        if setup.looping {
            house.put_module("fixture", "fixture");
            house.put(
                "loop.toml",
                "plugin = \"fixture\"\nconfig.do = \"loop\"\nmatch.type = \"loop\"\n",
            );
        }
    }
}
