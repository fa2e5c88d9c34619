"""Deltas, filters by tags, and what a namespace takes as a payload."""

from script import Script, script

TEXT = "The quick brown fox jumps over the lazy dog, again and again, until it is bored. " * 3


def page(number: int) -> dict:
    """Large payloads that differ in little."""
    return {"text": TEXT, "number": number}


@script(each={name: name for name in ("delta", "flagged", "open", "rec", "bare")})
def deltas(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    s.join("ann", room, delta="fossil")
    ben = s.join("ben", room)
    for number in range(3):
        ben.publish(room, page(number))
    s.api("publish", {"channel": room, "data": page(3), "delta": True})
    s.api("publish", {"channel": room, "data": page(4)})
    s.api("publish", {"channel": room, "data": page(5), "delta": True})
    s.api("publish", {"channel": room, "data": "passing", "skip_history": True, "delta": True})
    s.api("publish", {"channel": room, "data": page(6), "delta": True})
    ben.history(room, limit=10)


PAYLOADS = {
    "small": [1, 2],
    "the same": [{"a": TEXT}, {"a": TEXT}],
    "quite different": [{"a": TEXT}, {"b": "x" * 300}],
    "of languages": [{"a": TEXT + "ü🎈"}, {"a": TEXT + "ö🎈"}],
    "texts": [TEXT, TEXT + "!"],
    "growing": [[TEXT], [TEXT, TEXT], [TEXT, TEXT, 3]],
    "null": [None, {"a": 1}, None],
}


@script(each=PAYLOADS)
def deltas_of_payloads(s: Script, payloads) -> None:
    room = s.room("delta:hall")
    ann = s.join("ann", room, delta="fossil")
    for payload in payloads:
        ann.publish(room, payload)


PLACES = {"nothing": 4, "one": 3, "three": 1, "all": 0, "more than there is": 9}


@script(each={f"{name}, in {namespace}": (offset, namespace) for name, offset in PLACES.items() for namespace in ("delta", "flagged")})
def deltas_after_missing(s: Script, value) -> None:
    offset, namespace = value
    room = s.room(f"{namespace}:hall")
    ann = s.join("ann", room)
    for number in range(4):
        ann.publish(room, page(number))
    ben = s.client("ben").connect("ben")
    ben.subscribe(room, delta="fossil", recoverable=True, recover=True, offset=offset, epoch=s.epoch(room))
    s.api("publish", {"channel": room, "data": page(5), "delta": True})
    s.api("publish", {"channel": room, "data": page(6), "delta": True})
    ben.unsubscribe(room)
    s.api("publish", {"channel": room, "data": page(7), "delta": True})
    ben.subscribe(room, delta="fossil")
    s.api("publish", {"channel": room, "data": page(8), "delta": True})


@script(encodings=("protobuf",))
def deltas_of_bytes(s: Script) -> None:
    room = s.room("delta:hall")
    ann = s.join("ann", room, delta="fossil")
    for end in ("00", "01"):
        ann.publish(room, {"bytes": "22" + "aa" * 100 + end})


@script()
def a_delta_and_a_filter(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    ann.subscribe(s.room("filtered:hall"), delta="fossil", tf={"key": "a", "cmp": "eq", "val": "1"}).alive()


FILTERS = {
    "equal": {"key": "kind", "cmp": "eq", "val": "news"},
    "not equal": {"key": "kind", "cmp": "neq", "val": "news"},
    "one of": {"key": "kind", "cmp": "in", "vals": ["news", "sport"]},
    "none of": {"key": "kind", "cmp": "nin", "vals": ["news", "sport"]},
    "there": {"key": "kind", "cmp": "ex"},
    "not there": {"key": "kind", "cmp": "nex"},
    "beginning": {"key": "kind", "cmp": "sw", "val": "ne"},
    "end": {"key": "kind", "cmp": "ew", "val": "rt"},
    "within": {"key": "kind", "cmp": "ct", "val": "o"},
    "less": {"key": "n", "cmp": "lt", "val": "10"},
    "at most": {"key": "n", "cmp": "lte", "val": "9"},
    "more": {"key": "n", "cmp": "gt", "val": "9"},
    "at least": {"key": "n", "cmp": "gte", "val": "1.5"},
    "both": {"op": "and", "nodes": [{"key": "kind", "cmp": "eq", "val": "news"}, {"key": "n", "cmp": "gt", "val": "5"}]},
    "either": {"op": "or", "nodes": [{"key": "kind", "cmp": "eq", "val": "news"}, {"key": "n", "cmp": "eq", "val": "1"}]},
    "not": {"op": "not", "nodes": [{"key": "kind", "cmp": "eq", "val": "news"}]},
    "a number that is none": {"key": "n", "cmp": "gt", "val": "x"},
    "no comparison": {"key": "kind", "val": "news"},
    "no comparison that anybody knows": {"key": "kind", "cmp": "nonsense", "val": "x"},
    "no key": {"cmp": "eq", "val": "x"},
    "no operation that anybody knows": {"op": "xor", "nodes": []},
    "an and of nothing": {"op": "and", "nodes": []},
    "an or of nothing": {"op": "or"},
    "a not of two": {"op": "not", "nodes": [{"key": "a", "cmp": "ex"}, {"key": "b", "cmp": "ex"}]},
    "an equal without a value": {"key": "kind", "cmp": "eq"},
    "one of nothing": {"key": "kind", "cmp": "in", "vals": []},
    "nothing": {},
}


@script(each=FILTERS)
def a_filter(s: Script, filter) -> None:
    room = s.room("filtered:hall")
    ann = s.client("ann").connect("ann").subscribe(room, tf=filter, recoverable=True)
    for tags in ({"kind": "news", "n": "9"}, {"kind": "sport", "n": "10"}, {"n": "1"}, {"kind": "", "n": "x"}, None):
        s.api("publish", {"channel": room, "data": tags} | ({"tags": tags} if tags else {}))
    ann.unsubscribe(room)
    ann.subscribe(room, tf=filter, recoverable=True, recover=True, offset=1, epoch=s.epoch(room))
    ann.history(room, limit=10)


FORMATS = {
    "an object": {"data": {"a": 1}},
    "a list": {"data": [1]},
    "a text": {"data": "a"},
    "null": {"data": None},
    "nothing": {},
    "base64 of JSON": {"b64data": "eyJhIjoxfQ=="},
    "base64 of bytes": {"b64data": "/w=="},
    "base64 of nothing": {"b64data": ""},
}
WHERE = {f"{title}, in {namespace}": (body, namespace) for title, body in FORMATS.items() for namespace in ("json", "object", "binary")}


@script(encodings=("protobuf",), each=WHERE)
def what_a_namespace_takes(s: Script, value) -> None:
    body, namespace = value
    room = s.room(f"{namespace}:hall")
    ann = s.join("ann", room)
    s.api("publish", {"channel": room} | body)
    if "data" in body:
        ann.publish(room, body["data"])
    ann.publish(room, {"bytes": "ff"}).publish(room, {"bytes": ""})


@script(each={name: name for name in ("auto", "cache")})
def a_cache_that_is_recovered_by_itself(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    s.join("ann", room).publish(room, 1).publish(room, 2)
    s.client("ben").connect("ben").subscribe(room)
    s.client("eve").connect("eve").subscribe(room, recover=True, offset=2, epoch=s.epoch(room))
    s.client("joe").connect("joe").subscribe(s.room(f"{namespace}:empty"))
