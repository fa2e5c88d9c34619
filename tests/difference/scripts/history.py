"""What is kept, read and recovered."""

from script import Script, script


def _filled(s: Script, room: str, count: int):
    ann = s.join("ann", room)
    for number in range(1, count + 1):
        ann.publish(room, {"n": number})
    return ann


READS = {
    "nothing said": {},
    "no limit": {"limit": -1},
    "another negative limit": {"limit": -7},
    "the position": {"limit": 0},
    "one": {"limit": 1},
    "more than there is": {"limit": 1000},
    "backwards": {"limit": 3, "reverse": True},
    "all backwards": {"limit": -1, "reverse": True},
    "since": {"limit": 10, "since": {"offset": 2}},
    "since, one": {"limit": 1, "since": {"offset": 2}},
    "since the beginning": {"limit": 10, "since": {"offset": 0}},
    "since the end": {"limit": 10, "since": {"offset": 5}},
    "since beyond the end": {"limit": 10, "since": {"offset": 9}},
    "since, backwards": {"limit": 10, "reverse": True, "since": {"offset": 3}},
    "since the end, backwards": {"limit": 2, "reverse": True, "since": {"offset": 5}},
    "since the beginning, backwards": {"limit": 2, "reverse": True, "since": {"offset": 0}},
    "since beyond the end, backwards": {"limit": 2, "reverse": True, "since": {"offset": 9}},
    "since the first, backwards": {"limit": 10, "reverse": True, "since": {"offset": 1}},
    "since, without a limit": {"since": {"offset": 2}},
    "since, with another epoch": {"limit": 10, "since": {"offset": 2, "epoch": "another"}},
    "the position, with another epoch": {"limit": 0, "since": {"offset": 2, "epoch": "another"}},
}


@script(each=READS)
def a_history(s: Script, content) -> None:
    room = s.room("open:hall")
    _filled(s, room, 5).history(room, **content)
    s.api("history", {"channel": room} | content)


@script(each={"forwards": False, "backwards": True})
def a_history_since_its_own_epoch(s: Script, reverse) -> None:
    room = s.room("rec:hall")
    ann = _filled(s, room, 4)
    ann.history(room, limit=10, reverse=reverse, since={"offset": 2, "epoch": s.epoch(room)})


@script(each={name: name for name in ("open", "bare", "closed", "small", "cache", "nobody", "watched")})
def the_history_of_a_room_that_is_empty(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    s.client("ann").connect("ann").history(room, limit=10).history(room)
    s.api("history", {"channel": room, "limit": 10})


@script()
def a_history_that_is_full(s: Script) -> None:
    room = s.room("small:hall")
    ann = _filled(s, room, 5)
    ann.history(room, limit=-1).history(room, limit=10, since={"offset": 1}).history(room, limit=10, since={"offset": 3})
    ann.history(room, limit=10, reverse=True, since={"offset": 2})
    s.api("history", {"channel": room, "limit": -1})


@script("brief")
def a_history_that_is_long(s: Script) -> None:
    room = s.room("open:hall")
    ann = _filled(s, room, 5)
    ann.history(room, limit=-1).history(room, limit=4).history(room, limit=2).history(room, limit=-1, reverse=True)
    s.api("history", {"channel": room, "limit": -1})


@script()
def a_history_that_is_over(s: Script) -> None:
    room = s.room("short:hall")
    ann = _filled(s, room, 2)
    ann.history(room, limit=10)
    s.wait(2.5)
    ann.history(room, limit=10)
    s.client("ben").connect("ben").subscribe(room, recover=True, offset=1, epoch=s.epoch(room))
    s.client("eve").connect("eve").subscribe(room, recover=True, offset=2, epoch=s.epoch(room))


PLACES = {
    "nothing was missed": {"offset": 4},
    "something was missed": {"offset": 2},
    "all was missed": {"offset": 0},
    "more is known than there is": {"offset": 7},
    "of another epoch": {"offset": 2, "epoch": "another"},
    "of another epoch, from nought": {"offset": 0, "epoch": "another"},
    "of no epoch": {"offset": 2, "epoch": ""},
    "of no epoch, from nought": {"offset": 0, "epoch": ""},
    "strictly, of another epoch": {"offset": 2, "epoch": "another", "flag": 2},
    "strictly": {"offset": 2, "flag": 2},
}
RECOVERIES = {
    f"{title}, in {namespace}": (namespace, place)
    for title, place in PLACES.items()
    for namespace in ("open", "rec", "cache", "small", "bare")
}


@script(each=RECOVERIES)
def a_recovery(s: Script, value) -> None:
    namespace, place = value
    room = s.room(f"{namespace}:hall")
    ann = s.join("ann", room, recoverable=True)
    for number in range(1, 5):
        ann.publish(room, {"n": number})
    content = {"recover": True, "recoverable": True, "epoch": s.epoch(room)} | place
    ben = s.client("ben").connect("ben").subscribe(room, **content)
    ann.publish(room, "after")
    ben.unsubscribe(room)
    ben.subscribe(room, **content)


@script(each={name: name for name in ("open", "rec", "cache")})
def a_recovery_of_a_room_that_is_empty(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, recover=True, recoverable=True, offset=0, epoch="")
    ann.unsubscribe(room)
    ann.subscribe(room, recover=True, recoverable=True, offset=0, epoch=s.epoch(room))
    ann.unsubscribe(room)
    ann.subscribe(room, recover=True, recoverable=True, offset=3, epoch=s.epoch(room))


@script("brief")
def a_recovery_of_more_than_may_be(s: Script) -> None:
    room = s.room("rec:hall")
    _filled(s, room, 6)
    s.client("ben").connect("ben").subscribe(room, recover=True, offset=1, epoch=s.epoch(room))
    s.client("eve").connect("eve").subscribe(room, recover=True, offset=3, epoch=s.epoch(room))


@script()
def a_recovery_without_wishing_for_it(s: Script) -> None:
    room = s.room("open:hall")
    _filled(s, room, 3)
    s.client("ben").connect("ben").subscribe(room, recover=True, offset=1, epoch=s.epoch(room))
    s.client("eve").connect("eve").subscribe(room, positioned=True)


@script()
def a_history_is_removed(s: Script) -> None:
    room = s.room("rec:hall")
    ann = _filled(s, room, 3)
    s.api("history_remove", {"channel": room})
    ann.history(room, limit=10)
    ann.publish(room, "after")
    ann.history(room, limit=10)
    s.client("ben").connect("ben").subscribe(room, recover=True, offset=1, epoch=s.epoch(room))
    s.client("eve").connect("eve").subscribe(room, recover=True, offset=3, epoch=s.epoch(room))


@script()
def what_is_skipped_is_not_recovered(s: Script) -> None:
    room = s.room("rec:hall")
    ann = _filled(s, room, 1)
    s.api("publish", {"channel": room, "data": "passing", "skip_history": True})
    ann.publish(room, 2)
    ann.history(room, limit=10)
    s.client("ben").connect("ben").subscribe(room, recover=True, offset=1, epoch=s.epoch(room))


PAYLOADS = {
    "a number": 1,
    "nought": 0,
    "a fraction": 1.5e-7,
    "a text": "text",
    "an empty text": "",
    "a text of languages": "ünïcödé 🎈 \u2028",
    "a text with signs": 'quote " backslash \\ slash / <b>&amp;</b>',
    "true": True,
    "null": None,
    "a list": [1, [2, {}], []],
    "an empty object": {},
    "an object": {"a": {"b": [None, False]}},
}


@script(each=PAYLOADS)
def a_payload(s: Script, data) -> None:
    room = s.room("open:hall")
    ann = s.join("ann", room).publish(room, data)
    s.api("publish", {"channel": room, "data": data})
    ann.history(room, limit=10)
    s.api("history", {"channel": room, "limit": 10})


@script(encodings=("json",), each={name: name for name in ("1 ", " {\"a\" : 1}", "1e400", "123456789012345678901234567890", "{\"a\":1,\"a\":2}", "\"\\u00e9\"")})
def a_payload_as_it_is_written(s: Script, text) -> None:
    room = s.room("open:hall")
    ann = s.join("ann", room)
    ann.frame('{"id":9,"publish":{"channel":"' + room + '","data":' + text + "}}")
    ann.history(room, limit=10)


@script(encodings=("protobuf",), each={"no JSON": "ff00", "half a text": "22c3", "nothing": ""})
def a_payload_of_bytes(s: Script, data) -> None:
    room = s.room("bare:hall")
    s.join("ann", room).publish(room, {"bytes": data})
