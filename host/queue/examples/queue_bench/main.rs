//! Rates of the queue's stores beside their goals, and beside what the same database does bare in the same run.
//!
//! `cargo xtask bench queue [--quick] [--json FILE] [SCENARIO…]`
//!
//! - `arguments`, `scenario`: what to measure.
//! - `stage`: the databases it is measured on, all made for this run.
//! - `load`, `host`, `rounds`: who works, and how it is timed.
//! - `yardstick`: what the databases and the disk do without a queue.
//! - `drain`, `enqueue`, `fairness`, `wakeup`, `idle`: the scenarios.
//! - `report`: the table and the JSON file.

mod arguments;
mod cpu;
mod drain;
mod enqueue;
mod fairness;
mod host;
mod idle;
mod load;
mod report;
mod rounds;
mod scenario;
mod stage;
mod wakeup;
mod yardstick;

use anyhow::Result;

use arguments::Arguments;
use report::Report;
use stage::Stage;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut report = Report::new(arguments.quick)?;
    let mut stage = Stage::set_up(arguments.quick)?;
    yardstick::measure(&mut stage, &mut report).await?;
    for scenario in &arguments.scenarios {
        if scenario.needs_postgres() && !stage.has_postgres() {
            report.skipped(scenario.name(), "PostgreSQL is not installed")?;
            continue;
        }
        scenario.run(&mut stage, &mut report).await?;
    }
    report.finish(arguments.json.as_deref())
}
