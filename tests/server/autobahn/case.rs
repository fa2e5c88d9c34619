//! A case of the suite: what is sent, what may be seen, and what was.

use std::fmt;

use super::peer::{Peer, Seen};
use super::wire::Encoding;
use crate::harness::Running;

/// A case under the suite's id.
pub(super) struct Case {
    pub(super) id: String,
    /// What is sent, in words.
    pub(super) sent: String,
    /// What may be seen, the best first.
    outcomes: Vec<(Verdict, Vec<Seen>)>,
    /// What the suite expects or sends instead, if anything.
    instead: &'static str,
    encoding: Encoding,
    /// Whether the client closes, once it has seen what it awaits.
    closes: bool,
    /// Whether what was published may come back or not.
    echoes_are_left_open: bool,
    script: Box<dyn Fn(&mut Peer<'_>)>,
}

/// What the suite calls an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It conforms; the suite would like another better.
    NonStrict,
    /// The suite only looks: no rule says what should happen.
    Informational,
}

/// How a case went.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) sent: String,
    pub(super) expected: String,
    pub(super) observed: String,
}

impl Case {
    /// A case in which the server says `awaited`, then the client closes, and the server closes in turn.
    pub(super) fn answered(
        id: impl Into<String>,
        sent: impl Into<String>,
        awaited: Vec<Seen>,
        script: impl Fn(&mut Peer<'_>) + 'static,
    ) -> Self {
        let mut case = Self::closed(id, sent, 1000, script);
        case.outcomes[0].1.splice(..0, awaited);
        case.closes = true;
        case
    }

    /// A case in which the server closes with `code`, be it by itself, and says nothing else.
    pub(super) fn closed(
        id: impl Into<String>,
        sent: impl Into<String>,
        code: u16,
        script: impl Fn(&mut Peer<'_>) + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            sent: sent.into(),
            outcomes: vec![(Verdict::Pass, closing([], code))],
            instead: "",
            encoding: Encoding::Json,
            closes: false,
            echoes_are_left_open: false,
            script: Box::new(script),
        }
    }

    /// Sees these things before the close.
    pub(super) fn after(mut self, before: impl Into<Vec<Seen>>) -> Self {
        self.outcomes[0].1.splice(..0, before.into());
        self
    }

    /// Or does something else that gets this verdict.
    pub(super) fn or(mut self, verdict: Verdict, seen: Vec<Seen>) -> Self {
        self.outcomes.push((verdict, seen));
        self
    }

    /// The suite expects, or sends, something else.
    pub(super) fn instead_of(mut self, instead: &'static str) -> Self {
        self.instead = instead;
        self
    }

    /// By a client that speaks Protobuf.
    pub(super) fn in_protobuf(mut self) -> Self {
        self.encoding = Encoding::Protobuf;
        self
    }

    /// No rule says what should happen.
    pub(super) fn informational(mut self) -> Self {
        for (verdict, _) in &mut self.outcomes {
            *verdict = Verdict::Informational;
        }
        self
    }

    /// What was published may come back or not.
    pub(super) fn echoes_left_open(mut self) -> Self {
        self.echoes_are_left_open = true;
        self
    }

    /// Plays the case by a new client.
    ///
    /// # Errors
    /// When nothing was seen that may be.
    pub(super) fn play(&self, server: &Running) -> Result<Row, String> {
        let mut peer = Peer::enter(server, self.encoding);
        (self.script)(&mut peer);
        let awaited = self.outcomes[0].1.len() - CLOSING;
        let mut seen = peer.finish(self.closes.then_some(awaited));
        if self.echoes_are_left_open {
            seen.retain(|seen| *seen != Seen::Echo);
        }
        let Self { id, sent, instead, .. } = self;
        let outcomes: Vec<_> = self.outcomes.iter().map(|(verdict, seen)| told(*verdict, seen)).collect();
        let mut expected = outcomes.join("; or ");
        if !instead.is_empty() {
            expected += &format!(" ({THE_SUITE}{instead})");
        }
        match self.outcomes.iter().find(|(_, expected)| *expected == seen) {
            Some((verdict, _)) => {
                let observed = told(*verdict, &seen);
                Ok(Row { id: id.clone(), sent: sent.clone(), expected, observed })
            }
            None => Err(format!("{id}: {sent}: expected {expected}; observed {}", told(Verdict::Pass, &seen))),
        }
    }
}

/// How a row says that the suite wants something else.
pub(super) const THE_SUITE: &str = "the suite: ";

/// The close frame and the end.
const CLOSING: usize = 2;

/// Some things, then the server's close.
pub(super) fn closing(before: impl Into<Vec<Seen>>, code: u16) -> Vec<Seen> {
    let mut seen = before.into();
    seen.extend([Seen::Close(code), Seen::End]);
    seen
}

/// What was seen in words: repetitions as a count.
fn told(verdict: Verdict, seen: &[Seen]) -> String {
    let mut words: Vec<String> = seen
        .chunk_by(|one, next| one == next)
        .map(|same| match same {
            [one] => one.to_string(),
            _ => format!("{} × {}", grouped(same.len()), same[0]),
        })
        .collect();
    if verdict != Verdict::Pass
        && let Some(last) = words.last_mut()
    {
        *last += &format!(" ({verdict})");
    }
    words.join(", ")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::NonStrict => "non-strict",
            Self::Informational => "informational",
        })
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
