//! The values behind a destination's `[secrets]`: read at each look at the directory, so that a rotated file counts.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use postrider_core::Destination;
use postrider_core::secret::SecretSource;
use postrider_sandbox::Secrets;

/// Largest secret file: keys and tokens are short; a larger file is a mistake.
const MAX_SECRET: u64 = 64 << 10;

/// Largest file of `[tls]`: a bundle of all public certificate authorities has a quarter of it.
const MAX_PEM: u64 = 1 << 20;

/// The values that a destination's file refers to, by name.
#[derive(Default)]
pub struct Given {
    pub secrets: BTreeMap<String, String>,
    /// PEM texts by key, such as `tls.ca`.
    pub tls: BTreeMap<String, String>,
}

impl Given {
    /// All of them, for telling whether something changed.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.secrets.iter().chain(&self.tls)
    }
}

impl From<Given> for Secrets {
    fn from(given: Given) -> Self {
        given.secrets.into_iter().collect::<Self>().with_tls(given.tls)
    }
}

/// Where secrets come from, besides files.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub environment: BTreeMap<String, String>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Sources {
    /// Whatever a destination refers to.
    pub fn given(&self, spec: &Destination) -> Result<Given, String> {
        let tls = self.read_up_to(&spec.tls.by_key(), MAX_PEM)?;
        Ok(Given { secrets: self.read(&spec.secrets)?, tls })
    }

    /// The values of `secrets` by name. The error names the secret, its source and the remedy, never a value.
    pub fn read(
        &self,
        secrets: &BTreeMap<String, SecretSource>,
    ) -> Result<BTreeMap<String, String>, String> {
        self.read_up_to(secrets, MAX_SECRET)
    }

    fn read_up_to(
        &self,
        secrets: &BTreeMap<String, SecretSource>,
        most: u64,
    ) -> Result<BTreeMap<String, String>, String> {
        let value = |(name, source): (&String, &SecretSource)| {
            let value = self
                .value(source, most)
                .map_err(|problem| format!("secret \"{name}\": {problem}"))?;
            if value.is_empty() {
                return Err(format!("secret \"{name}\" is empty"));
            }
            Ok((name.clone(), value))
        };
        secrets.iter().map(value).collect()
    }

    fn value(&self, source: &SecretSource, most: u64) -> Result<String, String> {
        match source {
            SecretSource::File(path) => file(path, most),
            SecretSource::Env(name) => self.environment.get(name).cloned().ok_or_else(|| {
                format!("the environment variable {name} is not set; set it for the daemon and restart it")
            }),
            SecretSource::Credential(name) => {
                if name.contains('/') || name.starts_with('.') {
                    return Err(format!("\"{name}\" is not the name of a credential"));
                }
                let directory = self.credentials.as_ref().ok_or(
                    "$CREDENTIALS_DIRECTORY is not set; it takes systemd and LoadCredential= in the unit",
                )?;
                file(&directory.join(name), most)
            }
        }
    }
}

fn file(path: &Path, most: u64) -> Result<String, String> {
    let place = path.display();
    let unreadable = |e: std::io::Error| format!("the file {place} cannot be read as text: {e}");
    // A pipe or a device would never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("{place} is not a regular file"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > most {
        return Err(format!("the file {place} is larger than {most} bytes"));
    }
    let line = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t));
    Ok(line.unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sources: &Sources, source: SecretSource) -> Result<String, String> {
        sources.read(&[("key".to_owned(), source)].into()).map(|values| values["key"].clone())
    }

    #[test]
    fn each_source_gives_its_value() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cred"), "three\r\n").unwrap();
        let sources = Sources {
            environment: [("KEY".to_owned(), "one".to_owned())].into(),
            credentials: Some(dir.path().to_owned()),
        };
        assert_eq!(read(&sources, SecretSource::Env("KEY".into())).unwrap(), "one");
        assert_eq!(read(&sources, SecretSource::File(dir.path().join("cred"))).unwrap(), "three");
        assert_eq!(read(&sources, SecretSource::Credential("cred".into())).unwrap(), "three");
    }

    #[test]
    fn what_is_missing_is_named() {
        let sources = Sources::default();
        let error = read(&sources, SecretSource::File("/no/such/file".into())).unwrap_err();
        assert!(
            error.starts_with("secret \"key\": the file /no/such/file cannot be read as text"),
            "{error}"
        );
        let error = read(&sources, SecretSource::File("/dev/zero".into())).unwrap_err();
        assert!(error.contains("not a regular file"), "{error}");
        let error = read(&sources, SecretSource::Env("NOPE".into())).unwrap_err();
        assert!(error.contains("NOPE is not set"), "{error}");
        let error = read(&sources, SecretSource::Credential("../x".into())).unwrap_err();
        assert!(error.contains("not the name of a credential"), "{error}");
    }
}
