//! Whether a client that comes back has missed nothing.

use super::StreamPosition;

/// Says whether the publications with the offsets `found` are exactly what a client at `asked` has missed of a room
/// that now stands at `top`.
///
/// `true` is a promise: the client then knows every publication up to `top`. So it is given only when each single
/// offset from the asked one up to the top is there, in order, and there are at most `publications_max`; any doubt is
/// a `false`. An empty `asked.epoch` means that the client does not know the room's incarnation, and is taken on trust, as
/// SDKs send it before they have seen one.
///
/// # Examples
/// ```
/// use roomcast_protocol::{StreamPosition, recovered};
///
/// let at = |offset| StreamPosition { offset, epoch: "x".to_owned() };
/// assert!(recovered(&at(5), &at(7), [6, 7], 300));
/// assert!(!recovered(&at(5), &at(7), [7], 300)); // 6 is lost
/// assert!(!recovered(&at(9), &at(7), [], 300)); // 9 was never published
/// ```
pub fn recovered(
    asked: &StreamPosition,
    top: &StreamPosition,
    found: impl IntoIterator<Item = u64>,
    publications_max: usize,
) -> bool {
    if !asked.epoch.is_empty() && asked.epoch != top.epoch {
        return false;
    }
    let Some(missed) = top.offset.checked_sub(asked.offset) else {
        return false;
    };
    if missed > publications_max as u64 {
        return false;
    }
    // Not `asked.offset + 1..=top.offset`: the sum may pass the last number.
    found.into_iter().eq((asked.offset..=top.offset).skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition { offset, epoch: epoch.to_owned() }
    }

    /// Every asked offset, top and subset of retained offsets of a small room, against the rule in the words of the
    /// protocol.
    #[test]
    fn every_small_case_follows_the_rule() {
        let mut yes = 0;
        for (asked_epoch, same_life) in [("", true), ("x", true), ("y", false)] {
            for asked in 0..=6_u64 {
                for top in 0..=5_u64 {
                    for kept in 0..1_u32 << 5 {
                        for limit in 0..=6 {
                            let found: Vec<u64> =
                                (1..=5).filter(|offset| kept & (1 << (offset - 1)) != 0 && *offset > asked).collect();
                            let whole: Vec<u64> = (asked + 1..=top).collect();
                            let expected = same_life
                                && found.len() <= limit
                                && match (found.first(), found.last()) {
                                    (None, _) | (_, None) => asked == top,
                                    (Some(first), Some(last)) => *first == asked + 1 && *last == top && found == whole,
                                };
                            let said = recovered(&at(asked, asked_epoch), &at(top, "x"), found.iter().copied(), limit);
                            assert_eq!(
                                said, expected,
                                "asked {asked} of {asked_epoch:?}, top {top}, {found:?}, {limit}"
                            );
                            yes += u32::from(said);
                        }
                    }
                }
            }
        }
        assert!(yes > 0);
    }

    #[test]
    fn a_hole_a_repeat_or_a_wrong_order_is_never_recovered() {
        for found in [vec![6, 8], vec![6, 6, 7, 8], vec![8, 7, 6], vec![5, 6, 7, 8], vec![6, 7, 8, 9], vec![]] {
            assert!(!recovered(&at(5, "x"), &at(8, "x"), found.iter().copied(), 300), "{found:?}");
        }
        assert!(recovered(&at(5, "x"), &at(8, "x"), [6, 7, 8], 3));
        assert!(!recovered(&at(5, "x"), &at(8, "x"), [6, 7, 8], 2));
    }

    #[test]
    fn the_largest_offsets_do_not_overflow() {
        assert!(recovered(&at(u64::MAX, "x"), &at(u64::MAX, "x"), [], 300));
        assert!(recovered(&at(u64::MAX - 1, "x"), &at(u64::MAX, "x"), [u64::MAX], 300));
        assert!(!recovered(&at(u64::MAX, "x"), &at(0, "x"), [], 300));
        assert!(!recovered(&at(0, "x"), &at(u64::MAX, "x"), [], 300));
    }
}
