//! Time of the processor: it tells the cost of a way also where neighbours take the machine away.

use std::time::Duration;

use anyhow::{Context as _, Result};
use postrider_test_postgres::Cluster;

/// What one of the kernel's ticks is in `/proc/PID/stat`, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What this process and the server have used so far. Of the server's processes that have ended the parent tells.
pub(crate) fn used(cluster: &Cluster) -> Result<Duration> {
    let server = cluster.pid().context("the server is not running")?;
    let mut ticks = of("self")?.context("/proc/self/stat cannot be read")?.own;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let Some(process) = of(pid)? else { continue };
        if pid == server.to_string() {
            ticks += process.own + process.ended;
        } else if process.parent == server {
            ticks += process.own;
        }
    }
    Ok(TICK * u32::try_from(ticks)?)
}

struct Process {
    parent: u32,
    /// Ticks in user and kernel mode.
    own: u64,
    /// The same of its children that were waited for.
    ended: u64,
}

/// None where the process has ended meanwhile.
fn of(pid: &str) -> Result<Option<Process>> {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Ok(None) };
    // The name of the program stands in parentheses and may hold any character.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).context("no name in stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| fields.get(number).context("a short line of stat");
    let ticks = |number: usize| anyhow::Ok(field(number)?.parse::<u64>()?);
    Ok(Some(Process {
        parent: field(1)?.parse()?,
        own: ticks(11)? + ticks(12)?,
        ended: ticks(13)? + ticks(14)?,
    }))
}
