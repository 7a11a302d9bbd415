//! Durations, byte sizes and rates as people write them in configuration files.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A duration such as `500ms`, `5s`, `15m`, `24h` or `3d`; days are 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A size such as `64MiB`, `512KiB` or `1000` (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A rate such as `1/s`, `30/m` or `500/h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
}

/// Reads a duration. The error says what a duration looks like.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration such as \"5s\", \"15m\" or \"3d\"");
    let span: jiff::Span = text.trim().parse().map_err(|_any| wrong())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let signed = span.to_duration(days).map_err(|_any| wrong())?;
    Duration::try_from(signed).map_err(|_negative| wrong())
}

/// Reads a byte size. The error says what a size looks like.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a size such as \"64MiB\" or \"512KiB\"");
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_any| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a rate. The error says what a rate looks like.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("\"{text}\" is not a rate such as \"1/s\", \"30/m\" or \"500/h\"");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_any| wrong())?;
    if !number.is_finite() || number <= 0.0 {
        return Err(wrong());
    }
    Ok(Rate { per_second: number / seconds })
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a duration such as \"5s\"", parse_span)).map(Self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a rate such as \"1/s\"", parse_rate))
    }
}

struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.1(text).map_err(E::custom)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\" or a number of bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_bytes(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_negative| E::custom("a size cannot be negative"))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_span("3d"), Ok(Duration::from_secs(3 * 86_400)));
        assert!(parse_span("5").unwrap_err().contains("is not a duration"));
        assert!(parse_span("-5s").is_err());
    }

    #[test]
    fn sizes_and_rates_read_as_people_write_them() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert!(parse_bytes("64 parsecs").is_err());
        assert_eq!(parse_rate("30/m").unwrap().per_second, 0.5);
        assert!(parse_rate("0/s").is_err());
        assert!(parse_rate("fast").is_err());
    }
}
