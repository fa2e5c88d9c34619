//! Group 7: the closing handshake, close codes and reasons.

use super::Section;
use super::case::{Case, Verdict};
use super::peer::{Peer, Seen};
use super::wire::{CLOSE, CONTINUATION, FIN, PING, TEXT};

/// Valid when the suite was written.
const VALID: [u16; 13] = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
/// Invalid then.
const INVALID: [u16; 13] = [0, 999, 1004, 1005, 1006, 1012, 1013, 1014, 1015, 1016, 1100, 2000, 2999];
/// Registered with IANA since.
const REGISTERED: [u16; 3] = [1012, 1013, 1014];

fn close(peer: &mut Peer<'_>, code: u16, reason: &[u8]) {
    peer.frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat());
}

pub(super) fn closing() -> Section {
    let mut cases = handshakes();
    cases.extend(payloads());
    cases.extend((1..).zip(VALID).map(|(n, code)| {
        Case::closed(format!("7.7.{n}"), format!("close {code}"), code, move |peer| close(peer, code, b""))
    }));
    cases.extend((1..).zip(INVALID).map(|(n, code)| {
        let is_registered = REGISTERED.contains(&code);
        let answer = if is_registered { code } else { 1002 };
        let case =
            Case::closed(format!("7.9.{n}"), format!("close {code}"), answer, move |peer| close(peer, code, b""));
        case.instead_of(if is_registered { "1002; the code has been registered since" } else { "" })
    }));
    cases.extend((1..).zip([5000, 65535]).map(|(n, code)| {
        let case = Case::closed(format!("7.13.{n}"), format!("close {code}"), 1002, move |peer| close(peer, code, b""));
        case.informational()
    }));
    Section {
        title: "7 Close handling",
        about: "A valid close is answered with its code and without a reason, one without a code with 1000. The server then ends \
                its side first, as RFC 6455 wants it of servers. As to 7.1.6, it is left open which messages sent right before \
                a close come back, and not recorded.",
        cases,
    }
}

fn handshakes() -> Vec<Case> {
    vec![
        Case::answered("7.1.1", "`Hello World!`", vec![Seen::Echo], |peer| peer.publish(&[b"Hello World!"])),
        Case::closed("7.1.2", "close 1000, an empty close", 1000, |peer| {
            close(peer, 1000, b"");
            peer.frame(FIN | CLOSE, b"");
        }),
        Case::closed("7.1.3", "close 1000, a ping", 1000, |peer| {
            close(peer, 1000, b"");
            peer.frame(FIN | PING, b"");
        }),
        Case::closed("7.1.4", "close 1000, `Hello World!`", 1000, |peer| {
            close(peer, 1000, b"");
            peer.publish(&[b"Hello World!"]);
        }),
        Case::closed("7.1.5", "a first fragment of text, close 1000, the last fragment", 1000, |peer| {
            peer.frame(TEXT, b"fragment1");
            close(peer, 1000, b"");
            peer.frame(FIN | CONTINUATION, b"fragment2");
        }),
        Case::closed("7.1.6", "a message of 256 KiB, `Hello World!`, close 1000, a ping", 1000, |peer| {
            peer.publish(&[&b"BAsd7&jh23".repeat(256 * 1024 / 10)]);
            peer.publish(&[b"Hello World!"]);
            close(peer, 1000, b"");
            peer.frame(FIN | PING, b"");
        })
        .echoes_left_open()
        .informational(),
    ]
}

fn payloads() -> Vec<Case> {
    // A surrogate makes it invalid.
    let invalid = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    let refused = |id: &str, sent: &str, code, payload: Vec<u8>| {
        let case = Case::closed(id, sent, code, move |peer| peer.frame(FIN | CLOSE, &payload));
        case.or(Verdict::Pass, vec![Seen::End])
    };
    vec![
        Case::closed("7.3.1", "an empty close", 1000, |peer| peer.frame(FIN | CLOSE, b"")),
        refused("7.3.2", "a close of one byte", 1002, b"a".to_vec()),
        Case::closed("7.3.3", "close 1000", 1000, |peer| close(peer, 1000, b"")),
        Case::closed("7.3.4", "close 1000 `Hello World!`", 1000, |peer| close(peer, 1000, b"Hello World!")),
        Case::closed("7.3.5", "close 1000 with a reason of 123 bytes", 1000, |peer| close(peer, 1000, &[b'*'; 123])),
        refused(
            "7.3.6",
            "close 1000 with a reason of 124 bytes",
            1002,
            [&1000u16.to_be_bytes()[..], &[b'*'; 124]].concat(),
        ),
        refused(
            "7.5.1",
            "close 1000 with an invalid reason, `cebae1bdb9cf83cebcceb5eda080656469746564`",
            1007,
            [&1000u16.to_be_bytes()[..], invalid].concat(),
        ),
    ]
}
