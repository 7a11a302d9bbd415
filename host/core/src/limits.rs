//! What one delivery may use of the sandbox: a destination's `[limits]`.
//!
//! Every limit has a default that no ordinary module meets, and a range: below it nothing runs, above it one
//! destination could take the daemon's own memory.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::Error;

use crate::units::ByteSize;

/// A destination's `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the instance, in bytes. Every language starts in the default.
    pub memory: u64,
    /// Core instances in the component. Scripting languages have about twenty.
    pub instances: u32,
    /// Elements of one table. Python and Go fill theirs with some ten thousand functions.
    pub table: u32,
    /// Handles that the guest holds at once: streams, headers, requests.
    pub handles: u32,
    /// Resources that the host keeps for the guest at once, such as streams and header tables.
    pub resources: u32,
    /// What one host call may copy beside a request's body, in bytes: a log line, an answer, lists.
    pub host_call: u64,
    /// HTTP requests.
    pub requests: u32,
    /// Body of one HTTP request, in bytes.
    pub request_body: u64,
    /// Body of one HTTP answer, in bytes.
    pub response_body: u64,
    /// Header names and values of one HTTP request, in bytes. Receivers refuse more than the default anyway.
    pub headers: u64,
    /// Bodies of all HTTP requests and answers together, in bytes.
    pub traffic: u64,
    /// Log text, in bytes.
    pub log: u64,
    /// Text that `send` may hand back, in characters; the rest is cut. It is stored with the attempt.
    pub result: u32,
    /// File of the module, in bytes. The default is what the daemon loads at all.
    pub file: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Largest file of a module that the daemon loads: scripting languages bring their interpreter, some 20 MB of it.
pub const MAX_FILE: u64 = 64 * MIB;
/// Most core instances of one component: the sandbox's pool is made for them.
pub const MAX_INSTANCES: u32 = 40;
/// Most elements of a table: as above.
pub const MAX_TABLE: u32 = 40_000;
/// Bodies of a delivery together, unless the file says otherwise.
const DEFAULT_TRAFFIC: u64 = 16 * MIB;

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            instances: MAX_INSTANCES,
            table: MAX_TABLE,
            handles: 1_000,
            resources: 1_000,
            host_call: MIB,
            requests: 10,
            request_body: 4 * MIB,
            response_body: MIB,
            headers: 32 * KIB,
            traffic: DEFAULT_TRAFFIC,
            log: 64 * KIB,
            result: 1_000,
            file: MAX_FILE,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    memory: Option<ByteSize>,
    instances: Option<u32>,
    table: Option<u32>,
    handles: Option<u32>,
    resources: Option<u32>,
    host_call: Option<ByteSize>,
    requests: Option<u32>,
    request_body: Option<ByteSize>,
    response_body: Option<ByteSize>,
    headers: Option<ByteSize>,
    traffic: Option<ByteSize>,
    log: Option<ByteSize>,
    result: Option<u32>,
    file: Option<ByteSize>,
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LimitsFile::deserialize(deserializer)?.checked().map_err(Error::custom)
    }
}

impl LimitsFile {
    fn checked(self) -> Result<Limits, String> {
        let default = Limits::default();
        let request_body =
            bytes("request_body", self.request_body, default.request_body, 0..=256 * MIB)?;
        let response_body =
            bytes("response_body", self.response_body, default.response_body, 0..=256 * MIB)?;
        // Whoever raises a body's limit alone means it.
        let traffic = default.traffic.max(request_body.saturating_add(response_body));
        Ok(Limits {
            memory: bytes("memory", self.memory, default.memory, 64 * KIB..=4096 * MIB)?,
            instances: count("instances", self.instances, default.instances, 1..=MAX_INSTANCES)?,
            table: count("table", self.table, default.table, 1..=MAX_TABLE)?,
            handles: count("handles", self.handles, default.handles, 10..=100_000)?,
            resources: count("resources", self.resources, default.resources, 10..=100_000)?,
            host_call: bytes("host_call", self.host_call, default.host_call, 4 * KIB..=64 * MIB)?,
            requests: count("requests", self.requests, default.requests, 0..=10_000)?,
            request_body,
            response_body,
            headers: bytes("headers", self.headers, default.headers, KIB..=MIB)?,
            traffic: bytes("traffic", self.traffic, traffic, 0..=4096 * MIB)?,
            log: bytes("log", self.log, default.log, 0..=64 * MIB)?,
            result: count("result", self.result, default.result, 20..=10_000)?,
            file: bytes("file", self.file, default.file, KIB..=MAX_FILE)?,
        })
    }
}

fn bytes(
    key: &str,
    given: Option<ByteSize>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    within(key, given.map_or(default, |size| size.0), &range, show)
}

fn count(
    key: &str,
    given: Option<u32>,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, String> {
    within(key, given.unwrap_or(default), &range, |number| number.to_string())
}

fn within<T: PartialOrd + Copy + Display>(
    key: &str,
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (show(*range.start()), show(*range.end()));
    Err(format!("{key} must be between {least} and {most}"))
}

/// A size as people write it.
fn show(size: u64) -> String {
    match size {
        0 => "0".to_owned(),
        _ if size.is_multiple_of(MIB) => format!("{}MiB", size / MIB),
        _ if size.is_multiple_of(KIB) => format!("{}KiB", size / KIB),
        _ => size.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::Destination;

    use super::*;

    fn parse(text: &str) -> Result<Limits, String> {
        let parsed = Destination::parse("x", &format!("[limits]\n{text}"));
        parsed.map(|d| d.limits).map_err(|error| error.problem)
    }

    #[test]
    fn every_limit_has_its_key() {
        let text = "memory = '1MiB'\ninstances = 2\ntable = 3\nhandles = 40\nresources = 50\nhost_call = '6KiB'\n\
                    requests = 7\nrequest_body = 8\nresponse_body = 9\nheaders = '10KiB'\ntraffic = 11\nlog = 12\n\
                    result = 130\nfile = '14KiB'";
        let all = Limits {
            memory: MIB,
            instances: 2,
            table: 3,
            handles: 40,
            resources: 50,
            host_call: 6 * KIB,
            requests: 7,
            request_body: 8,
            response_body: 9,
            headers: 10 * KIB,
            traffic: 11,
            log: 12,
            result: 130,
            file: 14 * KIB,
        };
        assert_eq!(parse(text), Ok(all));
        assert_eq!(parse(""), Ok(Limits::default()));
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (text, problem) in [
            ("memory = '1KiB'", "memory must be between 64KiB and 4096MiB"),
            ("memory = '5GiB'", "memory must be between 64KiB and 4096MiB"),
            ("instances = 41", "instances must be between 1 and 40"),
            ("file = '65MiB'", "file must be between 1KiB and 64MiB"),
            ("result = 0", "result must be between 20 and 10000"),
            ("fuel = 1", "unknown key \"fuel\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_larger_body_takes_the_traffic_along() {
        let limits = parse("request_body = '30MiB'").unwrap();
        assert_eq!(limits.traffic, 31 * MIB);
        assert_eq!(parse("request_body = '30MiB'\ntraffic = '1MiB'").unwrap().traffic, MIB);
    }
}
