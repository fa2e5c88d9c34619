"""Rules of the design that are not orderings, each broken on purpose: the models are to notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    # What goes wrong.
    name: str
    path: str
    # The expression or the statements that keep the rule, word for word, and what stands there when it is broken.
    shipped: str
    broken: str
    # Text that stands in the file once; `shipped` is looked for from there on.
    within: str


def rule(name, path, shipped, broken, within=None):
    return Rule(name, f"src/{path}.rs", shipped, broken, within or shipped)


RULES = (
    rule(
        "the directory word is swapped unconditionally",
        "ring/directory",
        "self.words[self.shape.position(generation)].compare_exchange(old.0, new.0, AcqRel, Acquire).is_ok()",
        "self.words[self.shape.position(generation)].swap(new.0, AcqRel); true",
    ),
    rule(
        "a generation is noted before the claim word has come to it",
        "ring/rotate",
        "self.era.fetch_max(installed.generation(), Release)",
        "self.era.fetch_max(installed.generation() + 1, Release)",
    ),
    rule(
        "a segment is reused before all its slots are committed",
        "ring/segment",
        "self.is_unleased() && (exclusive || self.is_full())",
        "self.is_unleased()",
    ),
    rule(
        "an evicted segment is taken by two",
        "ring/segment",
        "self.life.compare_exchange(seen, life(seen >> PHASE_BITS, next), AcqRel, Relaxed).is_ok()",
        "self.life.store(life(seen >> PHASE_BITS, next), Release); true",
    ),
    rule(
        "a segment is reused while it is leased",
        "ring/segment",
        "self.is_unleased() && (exclusive || self.is_full())",
        "exclusive || self.is_full()",
    ),
    rule(
        "a segment is reused although the directory names it",
        "ring/segment",
        "!matches!(phase, Phase::Evicted | Phase::Pinned)",
        "phase == Phase::Owned",
    ),
    rule(
        "the leases are looked at by a plain load",
        "ring/segment",
        "self.leases.fetch_add(0, AcqRel) == 0",
        "self.leases.load(Acquire) == 0",
    ),
    rule(
        "a lease is taken by an old directory word",
        "ring/directory",
        "place.word() == word",
        "true",
    ),
    rule(
        "the bytes of a segment are counted that the directory names no more",
        "ring/budget",
        "directory.word(generation) != word",
        "false",
    ),
    rule(
        "the oldest retained is computed from the claim word",
        "ring/cursor",
        "shape.oldest(word.generation())",
        "shape.oldest(shape.generation(self.ring().tail().saturating_sub(1)))",
    ),
    rule(
        "a reader does not look again after it has armed",
        "ring/cursor",
        "self.look(1)",
        "Err::<usize, _>(Nothing::Empty)",
        within="pub(crate) fn rest(&mut self) -> Rest {",
    ),
    rule(
        "who answers the bell trusts a stack that looks empty",
        "wake/doorbell",
        "self.waiters.take_all()",
        "self.waiters.take_if_any()",
    ),
    rule(
        "a close does not freeze the count",
        "ring/claim",
        """update(&self.claim, AcqRel, Acquire, |word| {
            let word = ClaimWord(word);
            (!word.is_closed()).then(|| word.close(self.shape.slots()).0)
        })
        .is_ok()""",
        "self.claim.fetch_or(1 << 63, AcqRel) >> 63 == 0",
    ),
    rule("a closer does not wake", "ring/claim", "bell.disturbed();", "", within="pub(crate) fn close(&self"),
    rule("a rotation does not wake", "ring/rotate", "bell.disturbed();", "", within="// model: evicted_hole_park"),
    rule("a rewriter does not wake", "ring/rewrite", "bell.disturbed();", ""),
    rule(
        "publishers go on in the segment that was copied",
        "ring/rewrite",
        "self.claim.compare_exchange(word.0, copy.0, AcqRel, Acquire).is_err()",
        "{ let _ = copy; false }",
    ),
    rule(
        "a reader goes by the generation of the segment it stands in",
        "ring/cursor",
        "lease.word == word",
        "lease.first == shape.first(generation)",
    ),
    rule(
        "two replace messages at a time",
        "ring/directory",
        "!self.rewriting.swap(true, Acquire)",
        "{ self.rewriting.swap(true, Acquire); true }",
    ),
    rule(
        "the claim word is moved on although the ring is closed",
        "ring/rotate",
        "(word.is_of(full) && !word.is_closed() && word.count() >= self.shape.slots()).then_some(next.0)",
        "(word.is_of(full) && word.count() >= self.shape.slots()).then_some(next.0)",
    ),
    rule(
        "the claim word is moved on by an installer that is laps behind",
        "ring/rotate",
        "(word.is_of(full) && !word.is_closed() && word.count() >= self.shape.slots()).then_some(next.0)",
        "(!word.is_closed() && word.count() >= self.shape.slots()).then_some(next.0)",
    ),
    rule(
        "a loser waits for the installer to move the claim word on",
        "ring/rotate",
        "self.advance(full, old);",
        "",
    ),
    rule(
        "a rotation does not look at the gates",
        "ring/rotate",
        "!bell.may_evict(self.shape.first(old.generation() + 1))",
        "false",
    ),
    rule(
        "a blocker begins in what is being evicted",
        "ring/claim",
        "self.shape.first(by_count.max(by_bytes)).min(tail)",
        "let _ = (by_count, by_bytes); self.oldest()",
    ),
    rule(
        "who trims does not say how far it has come",
        "ring/budget",
        "self.trimmed.fetch_max(generation + 1, Relaxed);",
        "",
    ),
    rule(
        "who trims does not look at the gates again",
        "ring/budget",
        "self.announce(generation, may_evict)",
        "{ self.announce(generation, may_evict); true }",
    ),
    rule("a trim does not wake", "ring/rotate", "bell.disturbed();", "", within="// SeqCst: as in `rotate`. model: trim_hole_park"),
    rule(
        "an exclusive writer does not look again at what was trimmed",
        "ring/exclusive",
        "!directory.replace(generation, old, new)",
        "{ directory.replace(generation, old, new); false }",
    ),
    rule(
        "a reader of an exclusive room sleeps within a commit",
        "ring/exclusive",
        "self.exclusive && self.exclusive_tail() > next",
        "let _ = next; false",
    ),
    rule(
        "a reader does not arm the claim word of an exclusive room",
        "ring/exclusive",
        "self.exclusive",
        "false",
        within="pub(crate) fn arm(&self) {",
    ),
    rule(
        "an exclusive writer commits before it has moved the tail",
        "ring/exclusive",
        "self.move_tail(run.len())",
        "segment.commit_until(self.tail + run.len()); self.move_tail(run.len())",
    ),
    rule(
        "a time is decided without the slots before it",
        "ring/segment",
        "&self.times[undecided.min(slot)..=slot]",
        "&self.times[slot..=slot]",
    ),
    rule(
        "a segment is begun without the last time before it",
        "ring/rotate",
        "if self.timed { self.time_floor(directory, full, now) } else { Some(0) }",
        "Some(0)",
    ),
    rule(
        "a node is pushed although it is queued",
        "wake/stack",
        "node.link().queued.swap(true, AcqRel)",
        "node.link().queued.swap(true, AcqRel) && false",
    ),
    rule(
        "a node is unmarked by a plain store",
        "wake/stack",
        "node.link().queued.swap(false, AcqRel);",
        "node.link().queued.store(false, crate::sync::Release);",
    ),
    rule(
        "the bell is disarmed and its waiters left",
        "wake/doorbell",
        "self.waiters.take_all()",
        "Stack::new().take_all()",
    ),
    rule(
        "a waker is left in its cell although somebody came to take it",
        "wake/waker_cell",
        "self.state.compare_exchange(REGISTERING, IDLE, AcqRel, Acquire).is_err()",
        "self.state.swap(IDLE, AcqRel); false",
    ),
    rule(
        "a waker's cell is given back by a plain store",
        "wake/waker_cell",
        "self.state.swap(IDLE, Release);",
        "self.state.store(IDLE, Release);",
    ),
    rule(
        "a gate that moves while its subscriber joins wakes nobody",
        "room/gate",
        "self.pass(room_ref, begin);",
        "self.next.store(begin, Release);",
    ),
    rule(
        "a thread is woken by a plain store",
        "sync/parker",
        "self.woken.swap(true, Release);",
        "self.woken.store(true, Release);",
    ),
    rule(
        "the loser of two makers keeps its own value",
        "sync/lazy",
        "self.value.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire)",
        "self.value.store(fresh, crate::sync::Release); Ok::<*mut T, *mut T>(fresh)",
    ),
)
