//! Groups 9 and 10: large messages, in fragments and in small writes, and many in a row.

use super::Section;
use super::case::{Case, grouped};
use super::peer::{Cut, Seen};
use super::wire::Encoding;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How often a message comes back in 9.7 and 9.8.
const ROUNDS: usize = 1000;

pub(super) fn sections() -> Vec<Section> {
    use Encoding::{Json, Protobuf};
    let text: &[u8] = b"BAsd7&jh23";
    let bytes: &[u8] = b"\x00\xfe\x23\xfa\xf0";
    vec![
        Section {
            title: "9.1 Limits: text messages of increasing size",
            about: "`BAsd7&jh23` again and again. The longest frame is exactly as long as the server can be told to take, \
                    16 MiB; the payload is shorter by the rest of the command.",
            cases: sizes("9.1", Json, text),
        },
        Section {
            title: "9.2 Limits: binary messages of increasing size",
            about: "`00fe23faf0` again and again, in Protobuf.",
            cases: sizes("9.2", Protobuf, bytes),
        },
        Section {
            title: "9.3 Limits: text messages in fragments of increasing size",
            about: "`*` again and again: a command of 4 MiB.",
            cases: fragments("9.3", Json, b"*"),
        },
        Section {
            title: "9.4 Limits: binary messages in fragments of increasing size",
            about: "`fe` again and again, in Protobuf: a command of 4 MiB.",
            cases: fragments("9.4", Protobuf, b"\xfe"),
        },
        Section {
            title: "9.5 Limits: text messages in chops of increasing size",
            about: "A frame of 1 MiB, in writes of so many octets.",
            cases: chops("9.5", Json, text),
        },
        Section {
            title: "9.6 Limits: binary messages in chops of increasing size",
            about: "The same in Protobuf.",
            cases: chops("9.6", Protobuf, bytes),
        },
        Section {
            title: "9.7 Round trips of text messages",
            about: "A thousand messages, each sent when the one before has come back. Here the payload has the suite's length, \
                    and the frame is longer by the rest of the command.",
            cases: round_trips("9.7", Json, b"*"),
        },
        Section {
            title: "9.8 Round trips of binary messages",
            about: "The same in Protobuf, which publishes no empty payload: that of 9.8.1 has one byte.",
            cases: round_trips("9.8", Protobuf, b"\xfe"),
        },
        Section {
            title: "10 Automatic fragments",
            about: "`*` again and again.",
            cases: vec![Case::answered(
                "10.1.1",
                "a command of 65,536 bytes in 50 fragments of 1,300 bytes and one of 536",
                vec![Seen::Echo],
                |peer| peer.publish_in_frames_of(1_300, &b"*".repeat(Json.payload_bytes(65_536))),
            )],
        },
    ]
}

fn sizes(group: &str, encoding: Encoding, unit: &'static [u8]) -> Vec<Case> {
    let sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
    let cases = (1..).zip(sizes).map(|(n, size)| {
        echoed(format!("{group}.{n}"), format!("a frame of {}", told(size)), encoding, move |peer| {
            peer.publish(&[&filled(encoding, unit, size)]);
        })
    });
    cases.collect()
}

fn fragments(group: &str, encoding: Encoding, unit: &'static [u8]) -> Vec<Case> {
    let sizes = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB];
    let cases = (1..).zip(sizes).map(|(n, size)| {
        let count = 4 * MIB / size;
        let sent = match count {
            1 => format!("one frame of {}", told(size)),
            _ => format!("{} fragments of {}", grouped(count), told(size)),
        };
        echoed(format!("{group}.{n}"), sent, encoding, move |peer| {
            peer.publish_in_frames_of(size, &filled(encoding, unit, 4 * MIB));
        })
    });
    cases.collect()
}

fn chops(group: &str, encoding: Encoding, unit: &'static [u8]) -> Vec<Case> {
    let cases = (1..).zip([64, 128, 256, 512, 1024, 2048]).map(|(n, octets)| {
        let sent = format!("1 MiB in chops of {} octets", grouped(octets));
        echoed(format!("{group}.{n}"), sent, encoding, move |peer| {
            peer.cut = Cut::Octets(octets);
            peer.publish(&[&filled(encoding, unit, MIB)]);
        })
    });
    cases.collect()
}

fn round_trips(group: &str, encoding: Encoding, unit: &'static [u8]) -> Vec<Case> {
    let least = usize::from(encoding == Encoding::Protobuf);
    let cases = (1..).zip([least, 16, 64, 256, 1024, 4096]).map(|(n, length)| {
        let plural = if length == 1 { "" } else { "s" };
        let sent = format!("{} payloads of {} byte{plural}", grouped(ROUNDS), grouped(length));
        let case = Case::answered(format!("{group}.{n}"), sent, vec![Seen::Echo; ROUNDS], move |peer| {
            let payload = unit.repeat(length);
            for _ in 0..ROUNDS {
                peer.publish(&[&payload]);
                peer.hear();
            }
        });
        let instead = if n == 1 && least > 0 { "of 0 bytes" } else { "" };
        encoded(case.instead_of(instead), encoding)
    });
    cases.collect()
}

fn echoed(id: String, sent: String, encoding: Encoding, script: impl Fn(&mut super::peer::Peer<'_>) + 'static) -> Case {
    encoded(Case::answered(id, sent, vec![Seen::Echo], script), encoding)
}

fn encoded(case: Case, encoding: Encoding) -> Case {
    match encoding {
        Encoding::Json => case,
        Encoding::Protobuf => case.in_protobuf(),
    }
}

/// The payload of a command of so many bytes.
fn filled(encoding: Encoding, unit: &[u8], command_bytes: usize) -> Vec<u8> {
    let length = encoding.payload_bytes(command_bytes);
    let mut payload = unit.repeat(length.div_ceil(unit.len()));
    payload.truncate(length);
    payload
}

fn told(bytes: usize) -> String {
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}
