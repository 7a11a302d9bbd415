//! A named, configured use of a plugin: the file `plugins/<name>.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::filter::Filter;
use crate::grant::Grant;
use crate::limits::Limits;
use crate::network::{Proxy, TlsSources};
use crate::ordering::OrderedBy;
use crate::policy::Policy;
use crate::reuse::{Reuse, ReuseKey};
use crate::secret::{self, SecretSource};
use crate::suggest;
use crate::units::Span;

/// Longest name of a destination or plugin, in bytes: it becomes a file name and an index key.
pub const MAX_NAME: usize = 100;

/// One destination, as its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The file's name without `.toml`.
    pub name: String,
    /// The file's name of the module without `.wasm`.
    pub plugin: String,
    pub filter: Filter,
    /// Origins that the plugin may reach; deny by default.
    pub allow: Vec<Grant>,
    /// Whether addresses of private networks and loopback may be reached.
    pub allow_private: bool,
    /// Whether the plugin may read its secrets' values.
    pub reveal: bool,
    /// Destinations that take over a delivery that died here, in order.
    pub fallback: Vec<String>,
    /// Time behind an open breaker or a hold after which the fallback takes over; none: only when a delivery dies.
    pub fallback_after: Option<Duration>,
    /// Keeps deliveries of one key in order, one at a time; none: they run side by side.
    pub ordered_by: Option<OrderedBy>,
    /// The only module that this destination accepts, SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// The `[config]` table as a JSON object.
    pub config: Value,
    pub secrets: BTreeMap<String, SecretSource>,
    pub policy: Policy,
    pub limits: Limits,
    /// Whether instances serve several deliveries; by default each gets a fresh one.
    pub reuse: Option<Reuse>,
    pub tls: TlsSources,
    pub proxy: Option<Proxy>,
}

/// Why a destination file is refused: the file, the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination \"{name}\": {problem}")]
pub struct DestinationError {
    pub name: String,
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plugin: Option<String>,
    #[serde(rename = "match", default)]
    filter: Filter,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    reveal: bool,
    #[serde(default)]
    fallback: Vec<String>,
    fallback_after: Option<Span>,
    ordered_by: Option<OrderedBy>,
    sha256: Option<String>,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    secrets: BTreeMap<String, SecretSource>,
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    reuse: ReuseKey,
    #[serde(default)]
    tls: TlsSources,
    proxy: Option<Proxy>,
}

impl Destination {
    /// Reads the text of `<name>.toml`.
    pub fn parse(name: &str, text: &str) -> Result<Self, DestinationError> {
        let refuse = |problem: String| DestinationError { name: name.to_owned(), problem };
        check_name(name).map_err(refuse)?;
        let file: File = toml::from_str(text).map_err(|e| refuse(suggest::toml_error(text, &e)))?;
        let plugin = file.plugin.unwrap_or_else(|| name.to_owned());
        check_name(&plugin).map_err(|problem| refuse(format!("plugin: {problem}")))?;
        let allow = file.allow.iter().map(|origin| Grant::parse(origin));
        let allow: Vec<Grant> =
            allow.collect::<Result<_, _>>().map_err(|e| refuse(format!("allow: {e}")))?;
        if file.fallback.iter().any(|target| target == name) {
            return Err(refuse("fallback: names the destination itself".to_owned()));
        }
        let fallback_after = file.fallback_after.map(|span| span.0);
        if fallback_after.is_some() && file.fallback.is_empty() {
            let problem = "fallback_after: takes a fallback; add: fallback = [\"…\"]";
            return Err(refuse(problem.to_owned()));
        }
        if fallback_after.is_some() && file.policy.breaker.is_none() {
            let problem = "fallback_after: takes a breaker; leave out breaker = false";
            return Err(refuse(problem.to_owned()));
        }
        let sha256 = file.sha256.map(|hash| hash.to_ascii_lowercase());
        if let Some(hash) = &sha256
            && (hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(refuse("sha256: must be 64 hexadecimal digits".to_owned()));
        }
        let config = json(toml::Value::Table(file.config)).map_err(refuse)?;
        for wanted in secret::referenced(&config) {
            if !file.secrets.contains_key(&wanted) {
                let near = suggest::nearest(&wanted, file.secrets.keys().map(String::as_str));
                let meant = near.map(|n| format!("did you mean \"{n}\"? ")).unwrap_or_default();
                return Err(refuse(format!(
                    "config refers to {{{{secret:{wanted}}}}}, which [secrets] does not define; {meant}\
                     add: {wanted} = {{ file = \"…\" }}"
                )));
            }
        }
        if let Some(wanted) = file.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref())
            && !file.secrets.contains_key(wanted)
        {
            return Err(refuse(format!(
                "proxy.credentials: [secrets] does not define \"{wanted}\"; add: {wanted} = {{ file = \"…\" }}"
            )));
        }
        if file.tls.client_key.is_some() && file.tls.client_cert.is_none() {
            let problem = "tls.client_key: takes client_cert beside it";
            return Err(refuse(problem.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            plugin,
            filter: file.filter,
            allow,
            allow_private: file.allow_private,
            reveal: file.reveal,
            fallback: file.fallback,
            fallback_after,
            ordered_by: file.ordered_by,
            sha256,
            config,
            secrets: file.secrets,
            policy: file.policy,
            limits: file.limits,
            reuse: file.reuse.0,
            tls: file.tls,
            proxy: file.proxy,
        })
    }
}

/// Whether `name` can name a destination or a plugin: letters, digits, `-`, `_`, `.`, not first a dot.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name is longer than {MAX_NAME} bytes"));
    }
    if name.starts_with('.') || !name.chars().all(fine) {
        return Err(format!(
            "\"{}\" is not a name: letters, digits, '-', '_' and '.' make one",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// A TOML value as JSON: dates become text; infinities have no JSON and are refused.
fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("config: {number} cannot be given to a plugin"))?,
        toml::Value::Boolean(yes) => yes.into(),
        toml::Value::Datetime(when) => Value::String(when.to_string()),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => Value::Object(
            table.into_iter().map(|(k, v)| Ok((k, json(v)?))).collect::<Result<_, String>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Schedule;
    use proptest::prelude::*;

    const WHOLE: &str = r##"
        plugin   = "slack"
        match    = { type = ["alert.*"], labels = { severity = ["critical", "high"] } }
        allow    = ["https://hooks.slack.com"]
        fallback = ["email"]
        sha256   = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
        [config]
        channel = "#ops"
        url = "{{secret:webhook}}"
        [secrets]
        webhook = { file = "/run/secrets/slack" }
        key     = { env = "SLACK_KEY" }
        [policy]
        attempts = 50
        max_age  = "3d"
        backoff  = { initial = "5s", factor = 2.0, cap = "15m", jitter = 0.2 }
        timeout  = "30s"
        concurrency = 64
        rate     = "1/s"
        [limits]
        memory   = "64MiB"
    "##;

    fn refused(text: &str) -> String {
        Destination::parse("oncall", text).unwrap_err().to_string()
    }

    #[test]
    fn the_whole_format_reads() {
        let oncall = Destination::parse("oncall", WHOLE).unwrap();
        assert_eq!(oncall.plugin, "slack");
        assert_eq!(oncall.policy.attempts, Some(50));
        assert_eq!(oncall.policy.rate.unwrap().per_second, 1.0);
        assert_eq!(oncall.config["channel"], "#ops");
        assert_eq!(oncall.secrets["key"], SecretSource::Env("SLACK_KEY".into()));
        assert_eq!(oncall.limits.memory, 64 << 20);
    }

    #[test]
    fn an_empty_file_uses_the_plugin_of_its_name() {
        let oncall = Destination::parse("oncall", "").unwrap();
        assert_eq!(oncall.plugin, "oncall");
        assert_eq!(oncall.policy, Policy::default());
        assert!(oncall.allow.is_empty());
    }

    #[test]
    fn a_backoff_list_reads() {
        let oncall = Destination::parse("oncall", "policy.backoff = ['5s', '5m']").unwrap();
        let list = Schedule::List(vec![Duration::from_secs(5), Duration::from_secs(300)]);
        assert_eq!(oncall.policy.backoff.schedule, list);
    }

    #[test]
    fn unknown_keys_name_the_line_and_the_nearest_known_one() {
        let error = refused("plugin = 'slack'\nmacth = { type = 'x' }");
        assert!(
            error.starts_with(
                "destination \"oncall\": line 2: unknown key \"macth\"; did you mean \"match\"?"
            ),
            "{error}"
        );
        let error = refused("[policy]\nattemps = 3");
        assert!(
            error.contains("line 2: unknown key \"attemps\"; did you mean \"attempts\"?"),
            "{error}"
        );
        let error = refused("[policy]\nbackoff = { inital = '5s' }");
        assert!(error.contains("did you mean \"initial\"?"), "{error}");
        let error = refused("[limits]\nmemroy = 1");
        assert!(error.contains("did you mean \"memory\"?"), "{error}");
        let error = refused("[secrets]\nx = { flie = '/a' }");
        assert!(error.contains("did you mean \"file\"?"), "{error}");
    }

    #[test]
    fn wrong_types_and_values_say_what_is_expected() {
        for (text, expected) in [
            ("plugin = 1", "expected a string"),
            ("allow = ['hooks.slack.com']", "is not an origin"),
            ("policy.timeout = '30 parsecs'", "is not a duration"),
            ("policy.timeout = 30", "a duration such as"),
            ("policy.concurrency = 0", "at least 1"),
            ("policy.rate = 'fast'", "is not a rate"),
            ("sha256 = 'abc'", "64 hexadecimal digits"),
            ("fallback_after = '5m'", "add: fallback = "),
            ("fallback = ['x']\nfallback_after = '5m'\npolicy.breaker = false", "takes a breaker"),
            ("policy.breaker = { failures = 0 }", "breaker = false for none"),
            ("policy.breaker = { falures = 1 }", "did you mean \"failures\"?"),
            ("policy.breaker = { wait = '1h', cap = '1m' }", "must not be shorter"),
            ("policy.breaker = { open_on = [204] }", "from 400 to 599"),
            ("ordered_by = 'host'", "write \"subject\" or \"labels.NAME\""),
            ("policy.expires_after = '0s'", "above zero"),
            ("fallback = ['oncall']", "itself"),
            ("[config]\nx = nan", "cannot be given"),
            (
                "[config]\nurl = '{{secret:webhok}}'\n[secrets]\nwebhook = {env = 'X'}",
                "did you mean \"webhook\"",
            ),
            ("plugin = '../x'", "is not a name"),
        ] {
            let error = refused(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_breaker_reads() {
        let of = |text| Destination::parse("oncall", text).unwrap().policy.breaker;
        assert_eq!(of("policy.breaker = false"), None);
        assert_eq!(of(""), Some(crate::BreakerPolicy::default()));
        let breaker = of("policy.breaker = { failures = 3, wait = '1s' }").unwrap();
        assert_eq!((breaker.failures, breaker.wait), (3, Duration::from_secs(1)));
        let text = "fallback = ['email']\nfallback_after = '5m'";
        let after = Destination::parse("oncall", text).unwrap().fallback_after;
        assert_eq!(after, Some(Duration::from_secs(300)));
    }

    #[test]
    fn an_empty_name_is_refused() {
        assert!(Destination::parse("", "").is_err());
        assert!(Destination::parse(".hidden", "").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z\\[\\]{}= .'\"\n0-9]{0,60}") {
            let _either = Destination::parse("x", &text);
        }
    }
}
