//! The header by which a proxy says for whom it has connected, as it comes: in pieces that are asked for.

use crate::net::proxy_protocol::{Header, header};

/// What a header may take, whatever it says of itself.
const BYTES_MAX: usize = 16 + 2_048;

pub(super) fn check(input: &[u8]) {
    let mut have = 0;
    loop {
        match header(&input[..have]) {
            Header::More(more) => {
                assert!(more > 0 && have + more <= BYTES_MAX, "{more} more than {have}");
                if have + more > input.len() {
                    return;
                }
                have += more;
            }
            whole => {
                // What comes behind it changes nothing, as it is not looked at; what it is short of, it is not whole without.
                assert_eq!(header(&input[..have]), whole);
                if let Header::Whole(_) = whole {
                    assert!((0..have).all(|short| !matches!(header(&input[..short]), Header::Whole(_))));
                }
                return;
            }
        }
    }
}
