//! `postrider plugin check`: loads a module as the daemon would, and says what it found.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use postrider_sandbox::{
    CONTRACT, Inspection, LoadError, LoadProblem, Plugin, inspect, is_newer, wasmtime_version,
};
use serde_json::{Value, json};

use super::project::Project;
use super::stage::{TempDir, mib, sandbox};

/// What a module may import and gets nothing of, with what to do instead.
const DENIED: [(&str, &str); 3] = [
    ("wasi:filesystem/", "the host grants no files; keep notes in postrider:notifier/state"),
    ("wasi:sockets/", "the host grants no sockets; send by postrider:notifier/http or wasi:http"),
    ("wasi:http/incoming-handler", "nobody calls a notifier by http"),
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// The `.wasm` file, a component or a core module; or the directory of its project.
    file: PathBuf,
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let project = Project::of(&arguments.file)?;
    let bytes = project.bytes()?;
    let found = inspect(&bytes).ok();
    // Compiled each time, since how long that takes is part of the answer.
    let cache = TempDir::new("check")?;
    let loaded = sandbox(cache.path())?.load(&project.name, bytes.into()).await;
    let mut out = std::io::stdout().lock();
    match (&loaded, arguments.json) {
        (Ok(plugin), true) => writeln!(out, "{:#}", as_value(plugin, found.as_ref()))?,
        (Ok(plugin), false) => write!(out, "{}", as_text(plugin, found.as_ref()))?,
        (Err(error), true) => writeln!(out, "{:#}", refusal(error, found.as_ref()))?,
        (Err(error), false) => {
            writeln!(out, "{error}")?;
            // That problem has said it already.
            let has_said = matches!(error.problem, LoadProblem::WrongVersion { .. });
            if let Some(hint) = found.as_ref().and_then(newer).filter(|_| !has_said) {
                writeln!(out, "{hint}")?;
            }
        }
    }
    Ok(if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_value(plugin: &Plugin, found: Option<&Inspection>) -> Value {
    let description = plugin.description();
    json!({
        "usable": true,
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "sha256": plugin.hash(),
        "size": plugin.size(),
        "kind": found.map(kind),
        "contract": contracts(found),
        "compile_ms": plugin.compiled().map(|d| d.as_millis()),
        "imports": found.map(|found| &found.imports),
        "origins": description.origins,
        "secrets": description.secrets,
        "max_content": description.max_content,
        "config_schema": schema(plugin),
        "warnings": warnings(plugin, found),
        "destination": destination(plugin),
        "wasmtime": wasmtime_version(),
    })
}

fn refusal(error: &LoadError, found: Option<&Inspection>) -> Value {
    json!({
        "usable": false,
        "problem": error.to_string(),
        "hint": found.and_then(newer),
        "kind": found.map(kind),
        "contract": contracts(found),
        "imports": found.map(|found| &found.imports),
        "wasmtime": wasmtime_version(),
    })
}

fn contracts(found: Option<&Inspection>) -> Value {
    json!({"wanted": found.and_then(|found| found.contract.as_deref()), "served": CONTRACT})
}

fn as_text(plugin: &Plugin, found: Option<&Inspection>) -> String {
    let d = plugin.description();
    let mut text = format!("{} {}: {}\n\n", d.name, d.version, d.summary);
    let mut row = |name: &str, value: &str| text += &format!("{name:<9} {value}\n");
    if let Some(found) = found {
        let wanted = found.contract.as_deref().unwrap_or("none");
        row("kind", kind(found));
        row("world", &format!("postrider:notifier@{wanted}; this host serves {CONTRACT}"));
    }
    row("sha256", plugin.hash());
    row("size", &mib(plugin.size() as u64));
    if let Some(compiled) = plugin.compiled() {
        row("compile", &format!("{} ms (wasmtime {})", compiled.as_millis(), wasmtime_version()));
    }
    if let Some(found) = found {
        row("imports", &packages(&found.imports).join(", "));
    }
    if let Some(most) = d.max_content {
        row("content", &format!("at most {most} bytes at once; the host splits what is larger"));
    }
    for warning in warnings(plugin, found) {
        row("warning", &warning);
    }
    let schema = schema(plugin);
    let keys = keys(&schema);
    if !keys.is_empty() {
        text += "\n[config] takes\n";
        keys.iter().for_each(|key| text += &format!("  {}\n", key.line()));
    }
    text + &format!("\nA destination file for it:\n\n{}", destination(plugin))
}

fn kind(found: &Inspection) -> &'static str {
    match found.is_component {
        true => "component",
        false => "core module, made a component by the host",
    }
}

/// The packages of what it imports, such as `wasi:http`.
fn packages(imports: &[String]) -> Vec<&str> {
    let mut packages: Vec<&str> =
        imports.iter().filter_map(|import| import.split(['/', '@']).next()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn warnings(plugin: &Plugin, found: Option<&Inspection>) -> Vec<String> {
    let mut warnings = plugin.warnings().to_vec();
    let imports = found.map(|found| found.imports.as_slice()).unwrap_or_default();
    for (prefix, instead) in DENIED {
        if imports.iter().any(|import| import.starts_with(prefix)) {
            let name = prefix.trim_end_matches('/');
            warnings.push(format!("it imports {name}: {instead}"));
        }
    }
    if let Some(found) = found {
        warnings.extend(newer(found));
    }
    warnings
}

/// What to do about a module of a contract that is newer than the host's.
fn newer(found: &Inspection) -> Option<String> {
    let wanted = found.contract.as_deref()?;
    is_newer(wanted).then(|| {
        format!(
            "it is built for postrider:notifier@{wanted}, which is newer than the {CONTRACT} of this host: update \
             postrider, or build it with the WIT of {CONTRACT}"
        )
    })
}

fn schema(plugin: &Plugin) -> Value {
    let text = plugin.description().config_schema.as_deref().unwrap_or("null");
    serde_json::from_str(text).unwrap_or_default()
}

/// A key that a schema names.
struct Key<'a> {
    name: &'a str,
    is_required: bool,
    kind: String,
    about: &'a str,
}

impl Key<'_> {
    fn line(&self) -> String {
        let required = if self.is_required { ", required" } else { "" };
        let about = if self.about.is_empty() { "" } else { ": " };
        format!("{} ({}{required}){about}{}", self.name, self.kind, self.about)
    }
}

/// Those that are required first.
fn keys(schema: &Value) -> Vec<Key<'_>> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut keys: Vec<Key<'_>> = properties
        .into_iter()
        .flatten()
        .map(|(name, of)| Key {
            name,
            is_required: required.contains(&name.as_str()),
            kind: match (of.get("type"), of.get("enum")) {
                (Some(Value::String(kind)), _) => kind.clone(),
                (_, Some(values)) => format!("one of {values}"),
                _ => "any".to_owned(),
            },
            about: of.get("description").and_then(Value::as_str).unwrap_or_default(),
        })
        .collect();
    keys.sort_by_key(|key| !key.is_required);
    keys
}

/// A destination file, ready to paste.
fn destination(plugin: &Plugin) -> String {
    let d = plugin.description();
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let origins: Vec<String> = d.origins.iter().map(|origin| quoted(origin)).collect();
    let mut text = format!("plugin = {}\n", quoted(plugin.name()));
    text += &match origins.as_slice() {
        [] => {
            "allow  = []   # the origins that it may reach, such as \"https://hooks.example.com\"\n"
                .to_owned()
        }
        some => format!("allow  = [{}]\n", some.join(", ")),
    };
    let schema = schema(plugin);
    let required: Vec<Key<'_>> = keys(&schema).into_iter().filter(|key| key.is_required).collect();
    if !required.is_empty() {
        text += "[config]\n";
        for key in required {
            let value = match key.kind.as_str() {
                "integer" | "number" => "0",
                "boolean" => "false",
                "array" => "[]",
                "object" => "{}",
                _ => "\"\"",
            };
            let name = match key.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                true => key.name.to_owned(),
                false => quoted(key.name),
            };
            let about = one_line(key.about);
            text += &format!("{name} = {value}   # {about}\n");
        }
    }
    if !d.secrets.is_empty() {
        text += "[secrets]   # those that it can use\n";
        for secret in &d.secrets {
            text += &format!("# {secret} = {{ file = \"/run/secrets/{secret}\" }}\n");
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_for(contract: &str) -> Inspection {
        Inspection { is_component: true, contract: Some(contract.to_owned()), imports: Vec::new() }
    }

    #[test]
    fn a_newer_contract_is_told_with_the_remedy() {
        for (wanted, is_newer) in
            [("1.0.0", false), ("0.9.0", false), ("1.0.1", true), ("1.10.0", true)]
        {
            assert_eq!(newer(&built_for(wanted)).is_some(), is_newer, "{wanted}");
        }
        assert!(newer(&built_for("2.0.0")).unwrap().contains("update postrider, or build it"));
    }

    #[test]
    fn keys_that_are_required_come_first() {
        let schema = json!({
            "required": ["url"],
            "properties": {"level": {"enum": ["a", "b"]}, "url": {"type": "string", "description": "Where to."}},
        });
        let lines: Vec<String> = keys(&schema).iter().map(Key::line).collect();
        assert_eq!(lines, ["url (string, required): Where to.", "level (one of [\"a\",\"b\"])"]);
        assert!(keys(&json!(true)).is_empty());
    }
}
