//! When a certificate ends: the one thing of it that the gateway tells. Whether it is good is rustls's and the client's to
//! say; nothing here fails because of what a certificate has in it.

use jiff::civil::DateTime;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::clock::Timestamp;

// Tags of DER (ITU-T X.690).
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which is left out of certificates of the first one.
const VERSION: u8 = 0xa0;

/// When the first certificate of a chain in PEM ends, which is the server's own: the last second in which it is good. `None`
/// where that cannot be read.
pub(super) fn not_after(chain: &[u8]) -> Option<Timestamp> {
    let certificate = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    validity_end(&certificate)
}

/// The end of `TBSCertificate.validity`: <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>.
fn validity_end(certificate: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (tag, text, _) = any(any(validity)?.2)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// A time as certificates have it: to the second, in UTC. Two digits of a year are of 1950 to 2049.
fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let text = match tag {
        GENERALIZED_TIME => text.to_owned(),
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => return None,
    };
    // Not by way of an instant: 9999-12-31, which says "for ever", is none to that library.
    let moment = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let since_epoch = moment.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    Some(Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).ok()?))
}

/// What is in the element that `bytes` begin with, if it has this tag, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(found, ..)| *found == tag).map(|(_, inside, rest)| (inside, rest))
}

/// The element that `bytes` begin with: its tag, what is in it, and what is behind it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        // So many bytes of the length follow. A certificate has less than 16 MB.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        0..=0x7f => (usize::from(*first), rest),
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((*tag, inside, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};

    use super::*;

    /// A chain of a certificate that ends on this day and of its issuer, which ends later.
    fn chain(year: i32, month: u8, day: u8) -> String {
        let authority = CertificateParams::new(Vec::new()).unwrap();
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut server = CertificateParams::new(vec!["localhost".into()]).unwrap();
        server.not_after = date_time_ymd(year, month, day);
        let certificate = server.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        certificate.pem() + &authority.pem()
    }

    fn seconds(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_end_is_that_of_the_first_certificate_in_either_form_of_a_time() {
        // From 2050 on certificates have four digits of the year.
        for (day, text) in [((2031, 5, 17), "2031-05-17T00:00:00Z"), ((2055, 12, 1), "2055-12-01T00:00:00Z")] {
            let end = not_after(chain(day.0, day.1, day.2).as_bytes()).unwrap();
            assert_eq!(end.millis(), seconds(text) * 1000);
        }
    }

    #[test]
    fn what_stands_before_the_certificate_is_passed_over() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let text = format!("# renewed\n{key}{}", chain(2031, 5, 17));
        assert!(not_after(text.as_bytes()).is_some());
    }

    #[test]
    fn times_are_read_to_the_second() {
        let read = |tag, text| moment(tag, text).map(Timestamp::millis);
        assert_eq!(read(UTC_TIME, "491231235958Z"), Some(seconds("2049-12-31T23:59:58Z") * 1000));
        assert_eq!(read(UTC_TIME, "500101000000Z"), Some(seconds("1950-01-01T00:00:00Z") * 1000));
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799_000));
        assert_eq!(read(UTC_TIME, "491231235958"), None);
        assert_eq!(read(UTC_TIME, "491331235958Z"), None);
        assert_eq!(read(SEQUENCE, "491231235958Z"), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(b"-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n"), None);
        let chain = chain(2031, 5, 17);
        let whole = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        // Its validity is within the first half.
        for length in 0..60 {
            assert_eq!(validity_end(&whole[..length]), None, "cut after {length} bytes");
        }
    }
}
