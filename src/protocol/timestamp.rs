//! Times as text, for people and for JSON.

use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};

/// Milliseconds: what an event id holds.
const PRECISION: TimePrecision = TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(3) };
const FORMAT: EncodedConfig = Config::DEFAULT.set_time_precision(PRECISION).encode();

/// The last millisecond of the year 9999, the last that has four digits.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time in ms since 1970-01-01 UTC as ISO 8601 text; one after the year 9999 counts as its last moment.
#[must_use]
pub fn timestamp_ms(ms: u64) -> String {
    let when = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms.min(LAST_MS)) * 1_000_000).expect("it lies before the year 10,000");
    when.format(&Iso8601::<FORMAT>).expect("the format is one of time's own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_too_large_for_a_time() {
        assert_eq!(timestamp_ms(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_have_milliseconds_and_are_utc() {
        assert_eq!(timestamp_ms(1_764_042_123_456), "2025-11-25T03:42:03.456Z");
    }
}
