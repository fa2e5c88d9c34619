//! Groups 3 and 4: what RFC 6455 keeps for extensions and for itself, and no client may send.

use super::Section;
use super::case::{Case, Verdict, closing};
use super::peer::{Cut, Peer, Seen};
use super::wire::{BINARY, CLOSE, FIN, PING, TEXT, reserved};

const HELLO: &[u8] = b"Hello, world!";

/// What sections say of cases whose first message may come back.
const ABOUT: &str = "A frame that breaks a rule ends the connection at once, and what was published in the same read of the \
                     server's has then not been delivered to its publisher, who gets the answer to the command and the close: \
                     the suite calls this non-strict. In frames or octets, the client waits for the echo before it goes on, so \
                     that it is the same each time.";

/// A message, then a frame that must not be, then a ping that is not answered.
fn hello_then(id: &str, sent: &str, cut: Cut, wrong: impl Fn(&mut Peer<'_>) + 'static) -> Case {
    let case = Case::closed(id, format!("`Hello, world!`, {sent}, a ping"), 1002, move |peer| {
        peer.cut = cut;
        peer.publish(&[HELLO]);
        if cut != Cut::Together {
            peer.hear();
        }
        wrong(peer);
        peer.frame(FIN | PING, b"");
    });
    case.after([Seen::Echo]).or(Verdict::NonStrict, closing([], 1002))
}

pub(super) fn reserved_bits() -> Section {
    let again = |id: &str, sent: &str, bits: u8, cut| {
        hello_then(id, sent, cut, move |peer| peer.frame(FIN | reserved(bits) | TEXT, HELLO))
    };
    Section {
        title: "3 Reserved bits",
        about: ABOUT,
        cases: vec![
            Case::closed("3.1", "text `Hello, world!` with bits 1", 1002, |peer| {
                peer.frame(FIN | reserved(1) | TEXT, HELLO);
            }),
            again("3.2", "the same with bits 2", 2, Cut::Together),
            again("3.3", "the same with bits 3, in frames", 3, Cut::Frames),
            again("3.4", "the same with bits 4, in octets", 4, Cut::Octets(1)),
            Case::closed("3.5", "binary `00fffefdfcfb00ff` with bits 5", 1002, |peer| {
                peer.frame(FIN | reserved(5) | BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff");
            }),
            Case::closed(
                "3.6",
                "binary `Hello, world!` with bits 6 (a ping, says the suite, and sends this)",
                1002,
                |peer| {
                    peer.frame(FIN | reserved(6) | BINARY, HELLO);
                },
            ),
            Case::closed("3.7", "an empty close with bits 7", 1002, |peer| {
                peer.frame(FIN | reserved(7) | CLOSE, b"");
            }),
        ],
    }
}

pub(super) fn opcodes() -> Section {
    let alone = |id: &str, opcode: u8, payload: &'static [u8]| {
        Case::closed(id, described(opcode, payload), 1002, move |peer| peer.frame(FIN | opcode, payload))
    };
    let between = |id: &str, opcode: u8, payload: &'static [u8], cut| {
        let octets = if cut == Cut::Together { "" } else { ", in octets" };
        let sent = format!("{}{octets}", described(opcode, payload));
        hello_then(id, &sent, cut, move |peer| peer.frame(FIN | opcode, payload))
    };
    let payload: &[u8] = b"reserved opcode payload";
    Section {
        title: "4 Opcodes",
        about: ABOUT,
        cases: vec![
            alone("4.1.1", 3, b""),
            alone("4.1.2", 4, payload),
            between("4.1.3", 5, b"", Cut::Together),
            between("4.1.4", 6, HELLO, Cut::Together),
            between("4.1.5", 7, HELLO, Cut::Octets(1)),
            alone("4.2.1", 11, b""),
            alone("4.2.2", 12, payload),
            between("4.2.3", 13, b"", Cut::Together),
            between("4.2.4", 14, HELLO, Cut::Together),
            between("4.2.5", 15, HELLO, Cut::Octets(1)),
        ],
    }
}

fn described(opcode: u8, payload: &[u8]) -> String {
    match payload {
        [] => format!("an empty frame of opcode {opcode}"),
        _ => format!("a frame of opcode {opcode}, `{}`", String::from_utf8_lossy(payload)),
    }
}
