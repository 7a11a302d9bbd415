//! `timestamptz` as the stores count: whole milliseconds since 1970.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// PostgreSQL's numbers of the types.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);
/// From 1970 to 2000, where PostgreSQL's clock starts, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// A moment as PostgreSQL sends it: microseconds since 2000; the extremes are its infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Moment {
    /// Before every other.
    pub(super) const MIN: Self = Self(i64::MIN);

    pub(super) const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000).saturating_sub(EPOCH))
    }

    pub(super) fn minus_millis(self, millis: i64) -> Self {
        if self == Self::MIN { self } else { Self(self.0.saturating_sub(millis * 1_000)) }
    }

    /// Milliseconds since 1970, rounded down.
    pub(super) fn millis(self) -> i64 {
        self.0.saturating_add(EPOCH).div_euclid(1_000)
    }
}

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?))),
            PgValueFormat::Text => Err("a moment as text".into()),
        }
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_and_extremes_do_not_overflow() {
        for millis in [0, -1, 1_800_000_000_000] {
            assert_eq!(Moment::from_millis(millis).millis(), millis);
        }
        assert!(Moment(i64::MAX).millis() > 0);
        assert!(Moment::MIN.millis() < 0);
        assert_eq!(Moment::MIN.minus_millis(1), Moment::MIN);
    }
}
