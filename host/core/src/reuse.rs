//! Whether an instance serves several deliveries: a destination's `reuse`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};

use crate::units::{ByteSize, Span};

/// When an instance that is used again is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Deliveries of one instance.
    pub count: u32,
    /// Age of an instance.
    pub age: Duration,
    /// Linear memory that an instance may keep between deliveries, in bytes.
    pub memory: u64,
}

impl Default for Reuse {
    /// Scripting languages leak a little with each call, so not for ever.
    fn default() -> Self {
        Self { count: 1_000, age: Duration::from_secs(600), memory: 32 << 20 }
    }
}

/// The key `reuse` of a destination file: `true`, `false` or a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReuseKey(pub(crate) Option<Reuse>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReuseFile {
    count: Option<u32>,
    age: Option<Span>,
    memory: Option<ByteSize>,
}

impl<'de> Deserialize<'de> for ReuseKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReuseVisitor).map(Self)
    }
}

struct ReuseVisitor;

impl<'de> Visitor<'de> for ReuseVisitor {
    type Value = Option<Reuse>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, or a table with count, age and memory")
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<Option<Reuse>, E> {
        Ok(yes.then(Reuse::default))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Reuse>, A::Error> {
        let file = ReuseFile::deserialize(MapAccessDeserializer::new(map))?;
        let default = Reuse::default();
        let reuse = Reuse {
            count: file.count.unwrap_or(default.count),
            age: file.age.map_or(default.age, |age| age.0),
            memory: file.memory.map_or(default.memory, |memory| memory.0),
        };
        if reuse.count < 2 {
            return Err(Error::custom("reuse.count must be at least 2; leave reuse out for none"));
        }
        if reuse.age.is_zero() || reuse.age > Duration::from_secs(86_400) {
            return Err(Error::custom("reuse.age must be above 0 and at most 1d"));
        }
        Ok(Some(reuse))
    }
}

#[cfg(test)]
mod tests {
    use crate::Destination;

    use super::*;

    fn parse(text: &str) -> Result<Option<Reuse>, String> {
        Destination::parse("x", text).map(|d| d.reuse).map_err(|error| error.problem)
    }

    #[test]
    fn reuse_is_off_unless_asked_for() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("reuse = false"), Ok(None));
        assert_eq!(parse("reuse = true"), Ok(Some(Reuse::default())));
        let three = Reuse { count: 3, ..Reuse::default() };
        assert_eq!(parse("reuse = { count = 3 }"), Ok(Some(three)));
        let all = Reuse { count: 3, age: Duration::from_secs(60), memory: 1 << 20 };
        assert_eq!(parse("[reuse]\ncount = 3\nage = '1m'\nmemory = '1MiB'"), Ok(Some(all)));
    }

    #[test]
    fn what_reuse_cannot_be_is_refused() {
        for (text, problem) in [
            ("reuse = 3", "true, false, or a table"),
            ("reuse = { count = 1 }", "leave reuse out"),
            ("reuse = { age = '2d' }", "at most 1d"),
            ("reuse = { ages = '1m' }", "did you mean \"age\"?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
