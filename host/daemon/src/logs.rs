//! The daemon's log: lines on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What libraries say unless the level names them: of a broken connection the database's driver warns for each of them,
/// where one line of the daemon says what that means.
const LIBRARIES: &str = "sqlx_core=error";

/// Changes the level of the log that was started.
pub struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    pub fn set(&self, level: &str) {
        (self.0)(filter(level));
    }
}

/// Starts the log. Later calls do nothing, so that tests may start several daemons in one process.
pub fn start(format: LogFormat, level: &str) -> Option<Level> {
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = lines.with_ansi(colour).with_filter_reloading();
            let handle = lines.reload_handle();
            // It fails only where the log itself is gone.
            let set = move |filter| handle.reload(filter).unwrap_or_default();
            lines.try_init().ok().map(|()| Level(Box::new(set)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let set = move |filter| handle.reload(filter).unwrap_or_default();
            lines.try_init().ok().map(|()| Level(Box::new(set)))
        }
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(format!("{LIBRARIES},{level}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    const MACROS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];

    /// The arguments of a macro's call, up to its closing bracket: what is within brackets or quotes stays together.
    fn arguments(text: &str) -> Vec<String> {
        let (mut found, mut depth, mut quoted, mut escaped) =
            (vec![String::new()], 0, false, false);
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.push(String::new());
                    continue;
                }
                _ => {}
            }
            found.last_mut().unwrap().push(c);
        }
        found.iter().map(|argument| argument.trim().to_owned()).collect()
    }

    /// The names of an event's fields, which come before its message.
    fn fields(call: &str) -> Vec<String> {
        let arguments = arguments(call).into_iter();
        let fields = arguments.take_while(|argument| !argument.starts_with('"'));
        let named = |field: String| match field.strip_prefix('{') {
            // Behind a target they stand in braces.
            Some(braced) => self::fields(braced),
            None if field.starts_with("target:") => Vec::new(),
            None => {
                let name = field.split_once(" = ").map_or(field.as_str(), |(name, _)| name);
                vec![name.trim_start_matches(['%', '?']).to_owned()]
            }
        };
        fields.flat_map(named).collect()
    }

    fn read(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in text.split("tracing::").skip(1) {
                if let Some(rest) = MACROS.iter().find_map(|name| call.strip_prefix(name)) {
                    found.extend(fields(rest));
                }
            }
        }
    }

    #[test]
    fn fields_are_told_from_messages() {
        let call = "%error, a.b = %f(x, \",\"), ?delay, c = \"d\", \"said, {x}\")\n, no = 1";
        assert_eq!(fields(call), ["error", "a.b", "delay", "c"]);
        assert_eq!(fields("target: \"plugin\", { a.b = c }, \"said\""), ["a.b"]);
        assert_eq!(fields("\"said\")"), [""; 0]);
    }

    #[test]
    fn the_book_lists_every_field_and_no_other() {
        let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut used = BTreeSet::new();
        for part in ["core", "queue", "sandbox", "daemon"] {
            read(&host.join(part).join("src"), &mut used);
        }
        let page = std::fs::read_to_string(host.join("../docs/operating.md")).unwrap();
        let (_, list) = page.split_once("### Fields of the log\n").unwrap();
        let list = list.split("\n#").next().unwrap();
        let rows = list.lines().filter(|line| line.starts_with("| `"));
        let listed: BTreeSet<String> = rows
            .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
            .map(|name| name.trim().trim_matches('`').to_owned())
            .collect();
        assert_eq!(used, listed);
        let dotted = |name: &String| name == "error" || name.split('.').count() == 2;
        assert!(used.iter().all(dotted), "{used:?}");
    }
}
