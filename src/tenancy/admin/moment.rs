//! Moments, as administrators write and read them: RFC 3339, in UTC.

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// A moment in UTC. One beyond the year 9999 is the end of time.
pub fn tell(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Reads a moment with its offset, such as `2030-01-01T00:00:00Z`. Fails with [`crate::error::Kind::Invalid`].
pub fn read(field: &str, text: &str) -> Result<Timestamp> {
    let told = "a date and time with an offset, as in RFC 3339: 2030-01-01T00:00:00Z";
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| Error::invalid(field, format!("`{field}` has to be {told}.")))?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_and_what_has_no_offset_is_none() {
        let at = read("from", "2030-01-01T01:00:00+01:00").unwrap();
        assert_eq!(tell(at), "2030-01-01T00:00:00Z");
        assert_eq!(read("from", &tell(at)).unwrap(), at);
        for bad in ["", "2030-01-01", "2030-01-01T00:00:00", "tomorrow", "1893456000"] {
            assert_eq!(read("from", bad).unwrap_err().blamed(), Some("from"), "{bad}");
        }
    }
}
