//! `postrider plugin check FILE`: loads a module as the daemon would, and says what it found.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use postrider_sandbox::{CompilerConfig, Plugin, Sandbox, SandboxConfig, wasmtime_version};
use serde_json::json;

/// Instances at once: one for `describe`.
const INSTANCES: u32 = 4;

pub(super) async fn run(file: &Path, as_json: bool) -> Result<ExitCode> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let cache = tempdir()?;
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: cache.0.clone(),
        instances: INSTANCES,
        own: Vec::new(),
        threads: 1,
        compiler: CompilerConfig::default(),
    })?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut out = std::io::stdout().lock();
    match sandbox.load(&name, bytes.into()).await {
        Ok(plugin) if as_json => writeln!(out, "{:#}", as_value(&plugin))?,
        Ok(plugin) => write!(out, "{}", as_text(&plugin))?,
        Err(error) if as_json => {
            let refusal = json!({"usable": false, "problem": error.to_string(), "wasmtime": wasmtime_version()});
            writeln!(out, "{refusal:#}")?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_value(plugin: &Arc<Plugin>) -> serde_json::Value {
    let description = plugin.description();
    let schema = description.config_schema.as_deref();
    json!({
        "usable": true,
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "sha256": plugin.hash(),
        "size": plugin.size(),
        "compile_ms": plugin.compiled().map(|d| d.as_millis()),
        "origins": description.origins,
        "secrets": description.secrets,
        "max_content": description.max_content,
        "config_schema": schema.map(|text| serde_json::from_str(text).unwrap_or(json!(text))),
        "warnings": plugin.warnings(),
        "wasmtime": wasmtime_version(),
    })
}

fn as_text(plugin: &Arc<Plugin>) -> String {
    let d = plugin.description();
    let mut text = format!("{} {}: {}\n", d.name, d.version, d.summary);
    text += &format!("sha256  {}\nsize    {} bytes\n", plugin.hash(), plugin.size());
    if let Some(compiled) = plugin.compiled() {
        text += &format!("compile {} ms (wasmtime {})\n", compiled.as_millis(), wasmtime_version());
    }
    for warning in plugin.warnings() {
        text += &format!("warning {warning}\n");
    }
    text += "\nA destination file for it:\n\n";
    text += &format!("plugin = {:?}\nallow  = {:?}\n", plugin.name(), d.origins);
    if !d.secrets.is_empty() {
        text += "[secrets]   # those that it can use\n";
        for secret in &d.secrets {
            text += &format!("# {secret} = {{ file = \"/run/secrets/{secret}\" }}\n");
        }
    }
    text
}

/// A directory that goes with its owner.
struct TempDir(std::path::PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        // Left to the system's own cleaning where it cannot be removed.
        let _left = std::fs::remove_dir_all(&self.0).is_err();
    }
}

fn tempdir() -> Result<TempDir> {
    let path = std::env::temp_dir().join(format!("postrider-check-{}", std::process::id()));
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(TempDir(path))
}
