//! Group 6: text is UTF-8, wherever it is cut.

use super::Section;
use super::case::{Case, Verdict, closing};
use super::peer::Seen;
use super::wire::{self, CONTINUATION, FIN, TEXT, fragments as in_fragments, hex};
use crate::frames::frame;

/// "κόσμε", whose first letter but one takes three bytes.
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
const HELLO: &str = "Hello-µ@ßöäüàá-UTF-8!!";

pub(super) fn fragments() -> Section {
    let nothing = |id: &str, sent: &str, frames: &'static [u8]| {
        let case = Case::closed(id, sent, 3501, move |peer| frames.iter().for_each(|first| peer.frame(*first, b"")));
        case.instead_of("an empty echo")
    };
    let by_octets = |id: &str, payload: &'static [u8]| {
        let sent = format!("`{}` in fragments of an octet", String::from_utf8_lossy(payload));
        Case::answered(id, sent, vec![Seen::Echo], move |peer| peer.publish_in_frames_of(1, payload))
    };
    let (valid, surrogate, edited) = (KOSME, b"\xed\xa0\x80", b"edited");
    let invalid = [valid, surrogate, edited].concat();
    let told = hex(&invalid);
    let whole = invalid.clone();
    Section {
        title: "6.1 to 6.3 UTF-8: empty fragments, cuts within characters",
        about: "An empty message is taken whole and is then no command, so 6.1.1 and 6.1.2 are closed by the protocol (3501) \
                and not by a rule of WebSocket.",
        cases: vec![
            nothing("6.1.1", "an empty text frame", &[FIN | TEXT]),
            nothing("6.1.2", "text in three empty fragments", &[TEXT, CONTINUATION, FIN | CONTINUATION]),
            Case::answered(
                "6.1.3",
                "a message in three fragments, the first and the last empty",
                vec![Seen::Echo],
                |peer| {
                    let whole = peer.fragments(&[b"middle frame payload"]).concat();
                    peer.send(&frame(TEXT, b""));
                    // As it is, but as a fragment in the middle.
                    peer.send(&[&[CONTINUATION], &whole[1..]].concat());
                    peer.send(&frame(FIN | CONTINUATION, b""));
                },
            ),
            Case::answered("6.2.1", format!("`{HELLO}`"), vec![Seen::Echo], |peer| peer.publish(&[HELLO.as_bytes()])),
            Case::answered("6.2.2", "`Hello-µ@ßöä`, `üàá-UTF-8!!` as two fragments", vec![Seen::Echo], |peer| {
                peer.publish(&["Hello-µ@ßöä".as_bytes(), "üàá-UTF-8!!".as_bytes()]);
            }),
            by_octets("6.2.3", HELLO.as_bytes()),
            by_octets("6.2.4", KOSME),
            Case::closed("6.3.1", format!("text `{told}`"), 1007, move |peer| peer.frame(FIN | TEXT, &whole)),
            Case::closed("6.3.2", format!("text `{told}` in fragments of an octet"), 1007, move |peer| {
                in_fragments(TEXT, invalid.chunks(1)).iter().for_each(|fragment| peer.send(fragment));
            }),
        ],
    }
}

pub(super) fn fail_fast() -> Section {
    let text = [KOSME, b"\xf4\x90\x80\x80", b"edited"].concat();
    let parts = |cuts: [usize; 2]| {
        let (one, rest) = text.split_at(cuts[0]);
        let (two, three) = rest.split_at(cuts[1] - cuts[0]);
        [one.to_vec(), two.to_vec(), three.to_vec()]
    };
    let told = |[one, two, three]: &[Vec<u8>; 3]| format!("`{}`, `{}`, `{}`", hex(one), hex(two), hex(three));
    let case = |id: &str, parts: [Vec<u8>; 3], sent: String, in_frames: bool| {
        let case = Case::closed(id, sent, 1007, move |peer| {
            let [one, two, three] = match in_frames {
                true => wire::fragments(TEXT, parts.iter().map(Vec::as_slice)).try_into().expect("three"),
                false => {
                    let whole = frame(FIN | TEXT, &parts.concat());
                    let (one, rest) = whole.split_at(whole.len() - parts[1].len() - parts[2].len());
                    let (two, three) = rest.split_at(parts[1].len());
                    [one.to_vec(), two.to_vec(), three.to_vec()]
                }
            };
            peer.send(&one);
            peer.look();
            peer.send(&two);
            peer.look();
            peer.send(&three);
        });
        case.after([Seen::Nothing]).or(Verdict::NonStrict, closing([Seen::Nothing, Seen::Nothing], 1007))
    };
    // All of what is wrong is in the second part, or just the first octet that is.
    let (all, octet) = (parts([11, 15]), parts([12, 13]));
    let frames = |parts: &[Vec<u8>; 3]| format!("{} as three fragments", told(parts));
    let chops = |parts: &[Vec<u8>; 3]| format!("{} as three chops of a frame", told(parts));
    Section {
        title: "6.4 UTF-8: fail-fast",
        about: "The second part makes the text invalid. The server looks at text when the message is complete; the suite would \
                like it refused at once. Between the parts the client waits until the server has read what was sent.",
        cases: vec![
            case("6.4.1", all.clone(), frames(&all), true),
            case("6.4.2", octet.clone(), frames(&octet), true),
            case("6.4.3", all.clone(), chops(&all), false),
            case("6.4.4", octet.clone(), chops(&octet), false),
        ],
    }
}

pub(super) fn sequences() -> Section {
    let mut cases = Vec::new();
    for (group, sequences) in (5..).zip(groups()) {
        for (n, (is_valid, bytes)) in (1..).zip(sequences) {
            let (id, sent) = (format!("6.{group}.{n}"), format!("`{}`", hex(&bytes)));
            cases.push(match is_valid {
                true => Case::answered(id, sent, vec![Seen::Echo], move |peer| peer.publish(&[&bytes])),
                false => Case::closed(id, sent, 1007, move |peer| peer.frame(FIN | TEXT, &bytes)),
            });
        }
    }
    Section {
        title: "6.5 to 6.23 UTF-8: sequences",
        about: "By group: 5 valid text · 6 all beginnings of a text · 7 the first sequence of each length · 8 of lengths 5 and \
                6 · 9 the last sequence of each length · 10 of lengths 4 to 6, beyond Unicode · 11 other boundaries · 12 \
                continuation bytes alone · 13 first bytes alone · 14 the last byte missing · 15 all of these in a row · 16 \
                impossible bytes · 17 overlong ASCII · 18 the longest overlong sequences · 19 overlong U+0000 · 20 single \
                surrogates · 21 pairs of surrogates · 22 non-characters, which are valid · 23 specials. Valid sequences are \
                published inside a JSON string, as they are, but for U+0000 (6.7.1), which JSON wants written `\\u0000`; \
                invalid ones are the text itself.",
        cases,
    }
}

type Sequences = Vec<(bool, Vec<u8>)>;

/// The sequences of groups 6.5 to 6.23, each with whether it is valid.
fn groups() -> Vec<Sequences> {
    let valid = |sequences: &[&[u8]]| sequences.iter().map(|bytes| (true, bytes.to_vec())).collect::<Sequences>();
    let invalid = |sequences: &[&[u8]]| sequences.iter().map(|bytes| (false, bytes.to_vec())).collect::<Sequences>();
    let cut_short: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let (high, low): ([&[u8]; 4], [&[u8]; 2]) =
        ([b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"], [b"\xed\xb0\x80", b"\xed\xbf\xbf"]);
    vec![
        valid(&[
            b"hello\x24world",
            b"hello\xc2\xa2world",
            b"hello\xe2\x82\xacworld",
            b"hello\xf0\xa4\xad\xa2world",
            KOSME,
        ]),
        (1..=KOSME.len()).map(|n| (matches!(n, 2 | 5 | 7 | 9 | 11), KOSME[..n].to_vec())).collect(),
        valid(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        invalid(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        valid(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        invalid(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        [
            valid(&[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"]),
            invalid(&[b"\xf4\x90\x80\x80"]),
        ]
        .concat(),
        // All but the last, as in the suite; so too the first bytes below.
        [&[&b"\x80"[..], b"\xbf"][..], &(2..=6).map(|n| &b"\x80\xbf\x80\xbf\x80\xbf"[..n]).collect::<Vec<_>>()]
            .concat()
            .into_iter()
            .map(<[u8]>::to_vec)
            .chain([(0x80..0xbf).collect()])
            .map(|bytes| (false, bytes))
            .collect(),
        [0xc0..0xdf, 0xe0..0xef, 0xf0..0xf7, 0xf8..0xfb, 0xfc..0xfd]
            .into_iter()
            .map(|firsts| (false, firsts.flat_map(|first| [first, b' ']).collect()))
            .collect(),
        invalid(&cut_short),
        invalid(&[&cut_short.concat()]),
        invalid(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        invalid(&[
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ]),
        invalid(&[
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ]),
        invalid(&[
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ]),
        invalid(&[high[0], high[1], high[2], high[3], low[0], b"\xed\xbe\x80", low[1]]),
        high.iter().flat_map(|high| low.map(|low| (false, [high, low].concat()))).collect(),
        non_characters(),
        (0xb9..=0xbf).map(|last| (true, vec![0xef, 0xbf, last])).collect(),
    ]
}

/// The last two code points of each plane.
fn non_characters() -> Sequences {
    let planes = (0..=0x10).flat_map(|plane| [0xfffe, 0xffff].map(|last| plane << 16 | last));
    planes.filter_map(char::from_u32).map(|character| (true, character.to_string().into_bytes())).collect()
}
