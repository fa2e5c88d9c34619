//! Group 5: messages in fragments, rightly and wrongly.

use super::Section;
use super::case::{Case, Verdict, closing};
use super::peer::{Cut, Seen};
use super::wire::{CONTINUATION, FIN, PING, PONG, TEXT};

const CUTS: [(Cut, &str); 3] = [(Cut::Together, ""), (Cut::Frames, ", in frames"), (Cut::Octets(1), ", in octets")];

/// Frames as they are, by first byte and payload.
type Frames = &'static [(u8, &'static [u8])];

pub(super) fn fragments() -> Section {
    let mut cases = vec![
        wrong(
            "5.1",
            "a ping in two fragments",
            Cut::Together,
            &[(PING, b"fragment1"), (FIN | CONTINUATION, b"fragment2")],
        ),
        wrong(
            "5.2",
            "a pong in two fragments",
            Cut::Together,
            &[(PONG, b"fragment1"), (FIN | CONTINUATION, b"fragment2")],
        ),
    ];
    cases.extend((3..).zip(CUTS).map(|(n, (cut, how))| two(n, cut, how)));
    cases.extend((6..).zip(CUTS).map(|(n, (cut, how))| two_around_a_ping(n, cut, how)));
    for (first, fin, name) in [(9, FIN, "a last"), (12, 0, "a first")] {
        cases.extend((first..).zip(CUTS).map(|(n, (cut, how))| {
            let sent = format!("{name} continuation of nothing, text `Hello, world!`{how}");
            Case::closed(format!("5.{n}"), sent, 1002, move |peer| {
                peer.cut = cut;
                peer.frame(fin | CONTINUATION, b"non-continuation payload");
                peer.frame(FIN | TEXT, b"Hello, world!");
            })
        }));
    }
    cases.extend([
        Case::closed("5.15", "a message in two fragments, a first continuation of nothing, text", 1002, |peer| {
            peer.publish(&[b"fragment1", b"fragment2"]);
            peer.frame(CONTINUATION, b"fragment3");
            peer.frame(FIN | TEXT, b"fragment4");
        })
        .after([Seen::Echo])
        .or(Verdict::NonStrict, closing([], 1002)),
        wrong(
            "5.16",
            "twice: a first continuation of nothing, text in two fragments",
            Cut::Together,
            &[
                (CONTINUATION, b"fragment1"),
                (TEXT, b"fragment2"),
                (FIN | CONTINUATION, b"fragment3"),
                (CONTINUATION, b"fragment1"),
                (TEXT, b"fragment2"),
                (FIN | CONTINUATION, b"fragment3"),
            ],
        ),
        wrong(
            "5.17",
            "twice: a last continuation of nothing, text in two fragments",
            Cut::Together,
            &[
                (FIN | CONTINUATION, b"fragment1"),
                (TEXT, b"fragment2"),
                (FIN | CONTINUATION, b"fragment3"),
                (FIN | CONTINUATION, b"fragment1"),
                (TEXT, b"fragment2"),
                (FIN | CONTINUATION, b"fragment3"),
            ],
        ),
        wrong(
            "5.18",
            "text in two fragments, the second with the opcode of text",
            Cut::Together,
            &[(TEXT, b"fragment1"), (FIN | TEXT, b"fragment2")],
        ),
        five_around_pings("5.19", "", Cut::Together),
        five_around_pings("5.20", ", in frames", Cut::Frames),
    ]);
    Section {
        title: "5 Fragmentation",
        about: "A *first* continuation has no FIN bit, a *last* one has. As to 5.15, what was published in the same read of the \
                server's as the frame that breaks a rule is not delivered to its publisher any more.",
        cases,
    }
}

fn wrong(id: &str, sent: &str, cut: Cut, frames: Frames) -> Case {
    Case::closed(id, sent, 1002, move |peer| {
        peer.cut = cut;
        frames.iter().for_each(|(first, payload)| peer.frame(*first, payload));
    })
}

fn two(n: u32, cut: Cut, how: &str) -> Case {
    Case::answered(format!("5.{n}"), format!("a message in two fragments{how}"), vec![Seen::Echo], move |peer| {
        peer.cut = cut;
        peer.publish(&[b"fragment1", b"fragment2"]);
    })
}

fn two_around_a_ping(n: u32, cut: Cut, how: &str) -> Case {
    let seen = vec![Seen::Pong(b"ping payload".to_vec()), Seen::Echo];
    Case::answered(
        format!("5.{n}"),
        format!("a message in two fragments, a ping between them{how}"),
        seen,
        move |peer| {
            peer.cut = cut;
            let fragments = peer.fragments(&[b"fragment1", b"fragment2"]);
            peer.send(&fragments[0]);
            peer.frame(FIN | PING, b"ping payload");
            peer.send(&fragments[1]);
        },
    )
}

fn five_around_pings(id: &str, how: &str, cut: Cut) -> Case {
    let pings: [&[u8]; 2] = [b"pongme 1!", b"pongme 2!"];
    let seen = vec![Seen::Pong(pings[0].to_vec()), Seen::Pong(pings[1].to_vec()), Seen::Echo];
    let sent = format!("two of five fragments, a ping, its pong awaited, two more, a ping, the last{how}");
    Case::answered(id, sent, seen, move |peer| {
        peer.cut = cut;
        let fragments = peer.fragments(&[b"fragment1", b"fragment2", b"fragment3", b"fragment4", b"fragment5"]);
        fragments[..2].iter().for_each(|fragment| peer.send(fragment));
        peer.frame(FIN | PING, pings[0]);
        peer.hear();
        fragments[2..4].iter().for_each(|fragment| peer.send(fragment));
        peer.frame(FIN | PING, pings[1]);
        peer.send(&fragments[4]);
    })
}
