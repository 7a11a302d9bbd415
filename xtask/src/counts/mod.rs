//! `cargo xtask bench count`: instructions of a delivery, part by part, beside those that are kept in the repository.
//!
//! - this: builds `count_bench` for release and runs it by valgrind's callgrind.
//! - `kept`: the file of kept counts, and what is too far from them.

mod kept;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::modules;
use crate::workspace::{Workspace, line, run_command, say, succeeds, variable};
use kept::Counts;

/// The file of kept counts, below the workspace.
const FILE: &str = "tests/count/counts.toml";
/// What callgrind writes and the guest's code, from one run to the next, below the target directory.
const FOLDER: &str = "counts";
const MISSING: &str =
    "valgrind is not installed, so no instructions are counted: apt-get install valgrind";

/// What the count may be told.
#[derive(Args)]
pub(crate) struct Count {
    /// Keeps what is counted now: for a change that is worth its instructions, or saves some
    #[arg(long)]
    update: bool,
}

/// What is counted.
struct Figure {
    /// In the file, and for `count_bench`.
    name: &'static str,
    /// Whether a guest runs.
    guest: bool,
    /// Deliveries of the shorter and of the longer run. What belongs to many of them, such as a checkpoint of the queue,
    /// is evenly in the difference only where there are far more.
    deliveries: [u64; 2],
}

const FIGURES: [Figure; 4] = [
    Figure { name: "queue", guest: false, deliveries: [128, 1_920] },
    Figure { name: "dispatcher", guest: false, deliveries: [128, 1_920] },
    Figure { name: "sandbox-fresh", guest: true, deliveries: [100, 1_500] },
    Figure { name: "sandbox-reused", guest: true, deliveries: [100, 2_500] },
];

/// Counts, and fails where a count is too far from what is kept. Without valgrind that is left out but in CI (`CI=true`).
pub(crate) fn run(workspace: &Workspace, options: &Count) -> Result<()> {
    if !succeeds(Command::new("valgrind").arg("--version")) {
        if options.update || variable("CI").is_some_and(|ci| ci == "true") {
            bail!("{MISSING}");
        }
        return say(MISSING);
    }
    let file = workspace.root.join(FILE);
    // Read before minutes are spent.
    let kept = match read(&file) {
        Err(_nothing_good) if options.update => Counts::new(),
        kept => kept?,
    };
    let counted = Bench::build(workspace)?.count_all(&kept)?;
    if options.update {
        return std::fs::write(&file, kept::file_of(&counted))
            .with_context(|| format!("cannot write {FILE}"));
    }
    let astray = kept::astray(&kept, &counted);
    match astray.is_empty() {
        true => Ok(()),
        false => bail!("{}", astray.join("\n")),
    }
}

fn read(file: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {FILE}"))?;
    kept::parse(&text).with_context(|| FILE.to_owned())
}

/// The program whose instructions are counted, and what it needs.
struct Bench {
    program: PathBuf,
    module: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn build(workspace: &Workspace) -> Result<Self> {
        let modules = modules::build_with_test_guests(workspace)?;
        // With the packages of the other benches, so that all share what was built.
        let mut cargo = workspace.cargo("build");
        cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]);
        cargo.args(["-p", "postrider-count-bench", "--bin", "count_bench"]);
        run_command(&mut cargo).context("the program that is counted could not be built")?;
        let folder = workspace.target_dir.join(FOLDER);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let program = workspace.target_dir.join("release/count_bench");
        Ok(Self { program, module: modules.join("fixture.wasm"), folder })
    }

    fn count_all(&self, kept: &Counts) -> Result<Counts> {
        let mut counted = Counts::new();
        for figure in FIGURES {
            let count = self.count(&figure)?;
            say(&kept::beside(figure.name, count, kept.get(figure.name).copied()))?;
            counted.insert(figure.name.to_owned(), count);
        }
        Ok(counted)
    }

    /// Instructions of one delivery.
    fn count(&self, figure: &Figure) -> Result<u64> {
        if figure.guest {
            self.compile_guest(figure)?;
        }
        let [fewer, more] = figure.deliveries;
        let (least, most) = (self.total(figure, fewer)?, self.total(figure, more)?);
        let difference =
            most.checked_sub(least).context("more deliveries took fewer instructions")?;
        Ok(difference / (more - fewer))
    }

    /// Has the guest's code in the cache before instructions are counted. Valgrind runs its compiler, too: the processor
    /// that it plays lacks some of what this machine's has, and code for the one is not taken for the other.
    fn compile_guest(&self, figure: &Figure) -> Result<()> {
        let mut valgrind = valgrind("none");
        self.run(valgrind.arg("--trace-children=yes"), figure, 1)
    }

    /// Instructions of all of a run.
    fn total(&self, figure: &Figure, deliveries: u64) -> Result<u64> {
        let file = self.folder.join("callgrind.out");
        let mut valgrind = valgrind("callgrind");
        valgrind.arg(format!("--callgrind-out-file={}", file.display()));
        self.run(&mut valgrind, figure, deliveries)?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("callgrind wrote no {}", file.display()))?;
        total(&text).with_context(|| format!("{} has no totals", file.display()))
    }

    /// Runs the program by valgrind. What they say is said only where that fails.
    fn run(&self, valgrind: &mut Command, figure: &Figure, deliveries: u64) -> Result<()> {
        valgrind.arg(&self.program).args([figure.name, &deliveries.to_string()]);
        if figure.guest {
            valgrind.arg(&self.module).arg(self.folder.join("cache"));
        }
        let line = line(valgrind);
        let output = valgrind.output().with_context(|| format!("cannot run `{line}`"))?;
        if !output.status.success() {
            say(String::from_utf8_lossy(&output.stderr).trim_end())?;
            bail!("`{line}` failed: {}", output.status);
        }
        Ok(())
    }
}

fn valgrind(tool: &str) -> Command {
    let mut valgrind = Command::new("valgrind");
    // Threads in turn, so that what happens twice happens in the same order.
    valgrind.args(["--quiet", "--fair-sched=yes", &format!("--tool={tool}")]);
    valgrind
}

/// The sum over the whole run in callgrind's file.
fn total(file: &str) -> Option<u64> {
    let line = file.lines().rev().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind_says_the_sum_in_a_line() {
        let file = "# callgrind format\nevents: Ir\n\nfn=(0) main\n0 17\n\ntotals: 4711\n";
        assert_eq!(total(file), Some(4_711));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn each_figure_is_kept_and_no_other_as_an_update_writes_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join(FILE)).unwrap();
        let kept = kept::parse(&text).unwrap();
        let mut names = FIGURES.map(|figure| figure.name);
        names.sort_unstable();
        assert!(kept.keys().eq(&names), "{kept:?}");
        assert_eq!(kept::file_of(&kept), text);
    }
}
