//! What the book and the examples show is what the daemon reads.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use postrider_core::Destination;

/// The modules that the repository has, and the one that the book writes.
const MODULES: [&str; 3] = ["console", "webhook", "chat"];

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = fs::read_dir(repository.join(directory)).unwrap().map(|item| item.unwrap().path());
    let mut files: Vec<PathBuf> =
        found.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "no .{extension} in {directory}");
    files
}

fn examples() -> BTreeMap<String, Destination> {
    let parse = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let destination = Destination::parse(&name, &fs::read_to_string(&path).unwrap());
        (name, destination.unwrap_or_else(|e| panic!("{e}")))
    };
    files("examples/destinations", "toml").into_iter().map(parse).collect()
}

#[test]
fn every_example_destination_is_read_and_names_what_there_is() {
    let examples = examples();
    assert!(examples.len() >= 3, "{:?}", examples.keys());
    for (name, destination) in &examples {
        assert!(MODULES.contains(&destination.plugin.as_str()), "{name}: {}", destination.plugin);
        for fallback in &destination.fallback {
            assert!(examples.contains_key(fallback), "{name}: there is no {fallback}.toml");
        }
    }
}

#[test]
fn every_destination_in_the_book_is_read() {
    let mut read = 0;
    for page in files("docs", "md") {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        // Others are parts of a destination, or a Cargo.toml.
        for block in blocks.filter(|block| block.lines().any(|line| line.starts_with("plugin"))) {
            let parsed = Destination::parse("book", block);
            let destination = parsed.unwrap_or_else(|e| panic!("{}: {e}\n{block}", page.display()));
            assert!(MODULES.contains(&destination.plugin.as_str()), "{}: {block}", page.display());
            read += 1;
        }
    }
    assert!(read >= 3, "{read} destinations in the book");
}
