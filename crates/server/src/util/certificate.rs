//! From when and until when a certificate is good: the one thing of it that TLS itself keeps to itself.

use std::ops::Range;
use std::time::Duration;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which not every certificate has.
const VERSION: u8 = 0xa0;

/// When an X.509 certificate (DER) is over, since 1970; nothing where it is none.
pub(crate) fn ends_at(certificate: &[u8]) -> Option<Duration> {
    lasts(certificate).map(|lasts| lasts.end)
}

/// From when and until when it is good, since 1970; nothing where it is none.
pub(crate) fn lasts(certificate: &[u8]) -> Option<Range<Duration>> {
    let (whole, _) = value(certificate, SEQUENCE)?;
    let (mut rest, _) = value(whole, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = value(rest, SEQUENCE)?;
    let (begin, begins, rest) = element(validity)?;
    let (end, ends, _) = element(rest)?;
    Some(moment(begin, begins)?..moment(end, ends)?)
}

/// A time as certificates write it, since 1970.
fn moment(tag: u8, time: &[u8]) -> Option<Duration> {
    let time = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let year_digits = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    if time.len() != year_digits + 10 || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = time.split_at(year_digits);
    let year: u64 = year.parse().ok()?;
    // Two digits are of the years from 1950 to 2049.
    let year = match tag {
        UTC_TIME if year >= 50 => year + 1900,
        UTC_TIME => year + 2000,
        _ => year,
    };
    let part = |at: usize| rest[2 * at..2 * at + 2].parse::<u64>().ok();
    let [month, day, hour, minute, second] = [part(0)?, part(1)?, part(2)?, part(3)?, part(4)?];
    let days = days_since_1970(year, month, day)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// Days from the first of January 1970; nothing where the date is before it, or none.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin with March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(DAYS_TO_1970)
}

/// From the first of March of the year 0.
const DAYS_TO_1970: u64 = 719_468;

/// The value of the first element, which has this tag, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(bytes)?;
    (found == tag).then_some((value, rest))
}

/// The tag and the value of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Nothing here is longer than what three bytes count.
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(year: i32, month: u8, day: u8) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["chat.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_until_when_it_is_good() {
        for (year, month, day, seconds) in [
            (1999, 12, 31, 946_598_400),
            (2024, 2, 29, 1_709_164_800),
            (2026, 12, 25, 1_798_156_800),
            (2050, 1, 1, 2_524_608_000),
            (2400, 3, 1, 13_574_649_600),
        ] {
            let lasts = lasts(&made(year, month, day)).unwrap();
            // That of who made it begins in 1975.
            assert!(lasts.start > Duration::from_secs(5 * 365 * 24 * 60 * 60) && lasts.start < lasts.end);
            assert_eq!(ends_at(&made(year, month, day)), Some(Duration::from_secs(seconds)), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = made(2030, 1, 1);
        for length in 0..whole.len() {
            let _ = ends_at(&whole[..length]);
        }
        for at in 0..whole.len().min(200) {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0xff;
            let _ = ends_at(&spoilt);
        }
        assert_eq!(ends_at(&[]), None);
        assert_eq!(ends_at(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
