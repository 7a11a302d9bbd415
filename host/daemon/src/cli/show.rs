//! Answers of the API as tables, or as the JSON that they are.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

/// Prints a list: these columns of each item.
pub(super) fn list(found: &Value, as_json: bool, columns: &[&str]) -> Result<()> {
    if as_json {
        return print(&format!("{found:#}\n"));
    }
    let items = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut text = table(items, columns);
    if let Some(next) = found.get("next").and_then(Value::as_str) {
        text += &format!("more with --after {next}\n");
    }
    print(&text)
}

/// Prints a line.
pub(super) fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Prints one thing: its fields.
pub(super) fn one(found: &Value, as_json: bool) -> Result<()> {
    match as_json {
        true => print(&format!("{found:#}\n")),
        false => print(&fields(found, &[])),
    }
}

/// Prints numbers: counts, of which some are estimates, and sizes.
pub(super) fn stats(found: &Value, as_json: bool) -> Result<()> {
    if as_json {
        return print(&format!("{found:#}\n"));
    }
    let mut text = String::new();
    for (name, value) in found.as_object().into_iter().flatten() {
        let shown = match (value.get("count"), value.get("exact").and_then(Value::as_bool)) {
            (Some(count), Some(true)) => count.to_string(),
            (Some(count), _) => format!("{count} or more, estimated"),
            (None, _) => continue,
        };
        text += &format!("{name:<16} {shown}\n");
    }
    let overdue = found.get("oldest_due_ms").and_then(Value::as_u64);
    let waits = overdue.map_or("nothing is due".to_owned(), |ms| format!("waits {} s", ms / 1_000));
    text += &format!("{:<16} {waits}\n", "oldest due");
    for (name, bytes) in found.get("bytes").and_then(Value::as_object).into_iter().flatten() {
        if let Some(bytes) = bytes.as_u64() {
            let name = format!("bytes {name}");
            text += &format!("{name:<20} {bytes}\n");
        }
    }
    print(&text)
}

/// Prints a notification with its deliveries.
pub(super) fn notification(found: &Value, as_json: bool) -> Result<()> {
    if as_json {
        return print(&format!("{found:#}\n"));
    }
    let mut text = fields(found, &["deliveries"]);
    let deliveries = found.get("deliveries").and_then(Value::as_array);
    for delivery in deliveries.map(Vec::as_slice).unwrap_or_default() {
        text += &format!("\n{}", delivery_text(delivery));
    }
    print(&text)
}

/// Prints a delivery with every attempt.
pub(super) fn delivery(found: &Value, as_json: bool) -> Result<()> {
    if as_json {
        return print(&format!("{found:#}\n"));
    }
    print(&delivery_text(found))
}

fn delivery_text(delivery: &Value) -> String {
    let attempts = delivery.get("history").and_then(Value::as_array);
    let attempts = attempts.map(Vec::as_slice).unwrap_or_default();
    let columns = ["number", "started", "duration_ms", "outcome", "reason", "plugin"];
    let mut text = fields(delivery, &["history", "attempts"]);
    if !attempts.is_empty() {
        text += &table(attempts, &columns);
    }
    text
}

fn fields(of: &Value, but: &[&str]) -> String {
    let all = of.as_object().into_iter().flatten();
    let shown = all.filter(|(name, value)| {
        let is_said = !cell(value).is_empty() && **value != Value::Bool(false);
        is_said && !but.contains(&name.as_str())
    });
    shown.map(|(name, value)| format!("{name:<16} {}\n", cell(value))).collect()
}

/// Colour is for terminals, and for those who want it there (<https://no-color.org>).
pub(super) fn is_colored() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stdout().is_terminal()
}

fn color(column: &str, text: &str) -> Option<Color> {
    if !["state", "outcome", "goes"].contains(&column) {
        return None;
    }
    match text {
        "delivered" | "ready" | "loaded" | "active" | "live" | "true" => Some(Color::Green),
        "dead" | "refused" | "rejected" | "quarantined" | "trap" | "gone" => Some(Color::Red),
        "parked" | "retry" | "kept" | "leased" | "silent" | "timeout" | "limit" => {
            Some(Color::Yellow)
        }
        _ => None,
    }
}

fn table(items: &[Value], columns: &[&str]) -> String {
    let colored = is_colored();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for item in items {
        table.add_row(columns.iter().map(|column| {
            let text = cell(at(item, column));
            let color = color(column, &text).filter(|_| colored);
            let shown = Cell::new(text);
            color.map_or(shown.clone(), |color| shown.fg(color))
        }));
    }
    format!("{table}\n")
}

/// A field, or one within another: `breaker.state`.
fn at<'a>(item: &'a Value, column: &str) -> &'a Value {
    column.split('.').fold(item, |of, name| of.get(name).unwrap_or(&Value::Null))
}

/// A value on a terminal: what producers and plugins wrote cannot move the cursor.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read us has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb")), "a [2Jb");
    }

    #[test]
    fn a_list_has_its_columns() {
        let text = table(&[json!({"name": "a", "state": "ready"})], &["name", "state"]);
        assert!(text.contains("NAME") && text.contains("ready"), "{text}");
        let text = table(&[json!({"breaker": {"state": "open"}})], &["breaker.state", "x.y"]);
        assert!(text.contains("BREAKER.STATE") && text.contains("open"), "{text}");
    }
}
