//! Answers of the API as tables, or as the JSON that they are.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::client::Fields;

/// A terminal that says it is narrower, such as one without a size (0), is not asked: nothing would be readable.
const NARROW: u16 = 40;
/// A notification's field that is JSON of its producer's.
const CONTENT: &str = "content";

/// A field of an answer that is printed as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    AsItCame(&'a RawValue),
    Parsed(Value),
}

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

/// Prints a notification with its deliveries, and its content byte for byte.
pub(super) fn notification(found: &Fields, as_json: bool) -> Result<()> {
    print(&notification_text(found, as_json)?)
}

fn notification_text(found: &Fields, as_json: bool) -> Result<String> {
    if as_json {
        let mut all = BTreeMap::new();
        for (name, raw) in found {
            let field = match name.as_str() {
                CONTENT => Field::AsItCame(raw),
                _ => Field::Parsed(serde_json::from_str(raw.get())?),
            };
            all.insert(name, field);
        }
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let mut all = Map::new();
    for (name, raw) in found {
        let value = match name.as_str() {
            CONTENT => Value::from(raw.get()),
            _ => serde_json::from_str(raw.get())?,
        };
        all.insert(name.clone(), value);
    }
    let all = Value::Object(all);
    let mut text = fields(&all, &["deliveries"]);
    let deliveries = all.get("deliveries").and_then(Value::as_array);
    for delivery in deliveries.map(Vec::as_slice).unwrap_or_default() {
        text += &format!("\n{}", delivery_text(delivery));
    }
    Ok(text)
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
    let wanted = all.filter(|(name, _)| !but.contains(&name.as_str()));
    wanted.map(|(name, value)| field(name, value)).collect()
}

/// A line, or one for each field within; nothing of what is empty or not so.
fn field(name: &str, value: &Value) -> String {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            inner.iter().map(|(key, value)| field(&format!("{name}.{key}"), value)).collect()
        }
        Value::Null | Value::Bool(false) | Value::Object(_) => String::new(),
        value => {
            let text = cell(value);
            if text.is_empty() { text } else { format!("{name:<16} {text}\n") }
        }
    }
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
    table.load_style(presets::NOTHING);
    if table.width().is_some_and(|width| width >= NARROW) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
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
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(", ")
        }
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
    fn content_is_shown_byte_for_byte_however_deep() {
        let deep = format!("{}1.50{}", "[".repeat(500), "]".repeat(500));
        let answer = format!(
            r#"{{"content":{deep},"type":"t","deliveries":[{{"id":7,"state":"dead","history":[]}}]}}"#
        );
        let found: Fields = serde_json::from_str(&answer).unwrap();
        let text = notification_text(&found, false).unwrap();
        assert!(text.contains(&deep) && text.contains("dead"), "{text}");
        let text = notification_text(&found, true).unwrap();
        assert!(text.contains(&deep) && text.contains("\"id\": 7"), "{text}");
    }

    #[test]
    fn what_is_within_has_lines_of_its_own() {
        let breaker = json!({"state": "open", "reason": null});
        let one = json!({"allow": ["https://a", "https://b"], "breaker": breaker, "fallback": [],
            "waiting": false});
        let text = fields(&one, &[]);
        assert_eq!(text, "allow            https://a, https://b\nbreaker.state    open\n");
    }

    #[test]
    fn a_list_has_its_columns() {
        let text = table(&[json!({"name": "a", "state": "ready"})], &["name", "state"]);
        assert!(text.contains("NAME") && text.contains("ready"), "{text}");
        let text = table(&[json!({"breaker": {"state": "open"}})], &["breaker.state", "x.y"]);
        assert!(text.contains("BREAKER.STATE") && text.contains("open"), "{text}");
    }
}
