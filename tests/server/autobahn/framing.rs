//! Groups 1 and 2: messages of every form of length, pings and pongs.

use super::Section;
use super::case::{Case, grouped};
use super::peer::{Cut, Seen};
use super::wire::{CLOSE, Encoding, FIN, PING, PONG};

/// A frame's length is in its second byte up to 125, in two more up to 65,535, in eight above.
const LENGTHS: [usize; 6] = [125, 126, 127, 128, 65_535, 65_536];

pub(super) fn text() -> Section {
    Section {
        title: "1.1 Framing: text messages",
        about: "The payload is so many `*` that the frame is as long as the suite's; 1.1.1, whose message is empty, has an \
                empty payload, and therefore the shortest frame a command has.",
        cases: messages("1.1", Encoding::Json, b"*"),
    }
}

pub(super) fn binary() -> Section {
    Section {
        title: "1.2 Framing: binary messages",
        about: "The same with bytes `fe`, in Protobuf. An empty payload (1.2.1) is none to the protocol, which refuses to \
                publish it.",
        cases: messages("1.2", Encoding::Protobuf, b"\xfe").into_iter().map(Case::in_protobuf).collect(),
    }
}

fn messages(group: &str, encoding: Encoding, unit: &'static [u8]) -> Vec<Case> {
    let empty = encoding.publish(&[b""]).concat().len();
    let lengths = [empty].into_iter().chain(LENGTHS).map(|length| (length, Cut::Together));
    let chopped = (65_536, Cut::Octets(997));
    let cases = (1..).zip(lengths.chain([chopped]));
    cases
        .map(|(n, (length, cut))| {
            let sent = match (n, cut) {
                (1, _) => format!("an empty payload, in a frame of {length} bytes"),
                (_, Cut::Octets(octets)) => format!("a frame of {} bytes, in chops of {octets}", grouped(length)),
                _ => format!("a frame of {} bytes", grouped(length)),
            };
            let is_refused = n == 1 && encoding == Encoding::Protobuf;
            let (seen, instead) = if is_refused { (Seen::Refusal(107), "an empty echo") } else { (Seen::Echo, "") };
            let case = Case::answered(format!("{group}.{n}"), sent, vec![seen], move |peer| {
                peer.cut = cut;
                peer.publish(&[&unit.repeat(encoding.payload_bytes(length))]);
            });
            case.instead_of(instead)
        })
        .collect()
}

pub(super) fn pings() -> Section {
    let ping = |id: &str, sent: &str, payload: &[u8], cut| {
        let payload = payload.to_vec();
        Case::answered(id, sent, vec![Seen::Pong(payload.clone())], move |peer| {
            peer.cut = cut;
            peer.frame(FIN | PING, &payload);
        })
    };
    let pong = |id: &str, sent: &str, payload: &'static [u8]| {
        Case::closed(id, sent, 1000, move |peer| {
            peer.frame(FIN | PONG, payload);
            peer.frame(FIN | CLOSE, &1000u16.to_be_bytes());
        })
    };
    let ten = |id: &str, sent: &str, cut| {
        let payloads: Vec<_> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
        let pongs = payloads.iter().cloned().map(Seen::Pong).collect();
        Case::answered(id, sent, pongs, move |peer| {
            peer.cut = cut;
            payloads.iter().for_each(|payload| peer.frame(FIN | PING, payload));
        })
    };
    Section {
        title: "2 Pings and pongs",
        about: "These are frames of WebSocket; the pings of the protocol, which SDKs answer, are messages and not at issue.",
        cases: vec![
            ping("2.1", "an empty ping", b"", Cut::Together),
            ping("2.2", "a ping `Hello, world!`", b"Hello, world!", Cut::Together),
            ping("2.3", "a ping `00fffefdfcfb00ff`", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", Cut::Together),
            ping("2.4", "a ping of 125 bytes `fe`", &[0xfe; 125], Cut::Together),
            Case::closed("2.5", "a ping of 126 bytes `fe`", 1002, |peer| peer.frame(FIN | PING, &[0xfe; 126])),
            ping("2.6", "a ping of 125 bytes `fe`, in octets", &[0xfe; 125], Cut::Octets(1)),
            pong("2.7", "an empty pong nobody asked for, close 1000", b""),
            pong("2.8", "a pong `unsolicited pong payload`, close 1000", b"unsolicited pong payload"),
            Case::answered(
                "2.9",
                "a pong `unsolicited pong payload`, a ping `ping payload`",
                vec![Seen::Pong(b"ping payload".to_vec())],
                |peer| {
                    peer.frame(FIN | PONG, b"unsolicited pong payload");
                    peer.frame(FIN | PING, b"ping payload");
                },
            ),
            ten("2.10", "ten pings `payload-0` to `payload-9`", Cut::Together),
            ten("2.11", "the same, in octets", Cut::Octets(1)),
        ],
    }
}
