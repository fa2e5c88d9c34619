"""Frames as nobody's SDK would send them, and commands in the wrong order or shape."""

from script import Script, script

TEXTS = {
    "no JSON": "nonsense",
    "half an object": '{"id":7,"presence_stats":{',
    "a list": "[]",
    "a text": '"text"',
    "a number": "1",
    "null": "null",
    "two commands": '{"id":7,"presence_stats":{"channel":"open:x"}}\n{"id":8,"presence_stats":{"channel":"open:x"}}',
    "a line break at the end": '{"id":7,"presence_stats":{"channel":"open:x"}}\n',
    "two line breaks between": '{"id":7,"presence_stats":{"channel":"open:x"}}\n\n{"id":8,"presence_stats":{"channel":"open:x"}}',
    "two commands without a line break": '{"id":7,"presence_stats":{"channel":"open:x"}}{"id":8,"presence_stats":{"channel":"open:x"}}',
    "a good one and a bad one": '{"id":7,"presence_stats":{"channel":"open:x"}}\nnonsense',
    "an id alone": '{"id":7}',
    "a pong": "{}",
    "no id": '{"presence_stats":{"channel":"open:x"}}',
    "id nought": '{"id":0,"presence_stats":{"channel":"open:x"}}',
    "a subscribe without an id": '{"subscribe":{"channel":"bare:x"}}',
    "a negative id": '{"id":-1,"presence_stats":{"channel":"open:x"}}',
    "an id that is a text": '{"id":"7","presence_stats":{"channel":"open:x"}}',
    "an id with a fraction": '{"id":7.5,"presence_stats":{"channel":"open:x"}}',
    "an id that is too large": '{"id":4294967296,"presence_stats":{"channel":"open:x"}}',
    "the largest id": '{"id":4294967295,"presence_stats":{"channel":"open:x"}}',
    "the same id twice": '{"id":7,"presence_stats":{"channel":"open:x"}}\n{"id":7,"presence_stats":{"channel":"open:x"}}',
    "two methods": '{"id":7,"presence_stats":{"channel":"open:x"},"presence":{"channel":"open:x"}}',
    "no method that anybody knows": '{"id":7,"nonsense":{}}',
    "a method that is null": '{"id":7,"presence_stats":null}',
    "a room that is a number": '{"id":7,"subscribe":{"channel":1}}',
    "a room that is null": '{"id":7,"subscribe":{"channel":null}}',
    "no room": '{"id":7,"subscribe":{}}',
    "a field that nobody knows": '{"id":7,"subscribe":{"channel":"bare:x","nonsense":[1]},"more":1}',
    "a wish that is a text": '{"id":7,"subscribe":{"channel":"bare:x","recoverable":"yes"}}',
    "an offset that is negative": '{"id":7,"subscribe":{"channel":"rec:x","recover":true,"offset":-1}}',
    "a limit that is a text": '{"id":7,"history":{"channel":"open:x","limit":"1"}}',
    "a publish without data": '{"id":7,"publish":{"channel":"bare:x"}}',
    "a publish of null": '{"id":7,"publish":{"channel":"bare:x","data":null}}',
    "a type of a map": '{"id":7,"subscribe":{"channel":"bare:x","type":1}}',
    "half a surrogate pair": '{"id":7,"subscribe":{"channel":"bare:\\ud800"}}',
    "a send": '{"send":{"data":1}}',
    "a send with an id": '{"id":7,"send":{"data":1}}',
    "spaces around": '  {"id":7,"presence_stats":{"channel":"open:x"}}  ',
    "a line break within": '{"id":7,\n"presence_stats":{"channel":"open:x"}}',
    "capitals": '{"ID":7,"PRESENCE_STATS":{"channel":"open:x"}}',
}


@script(encodings=("json",), each=TEXTS)
def a_frame(s: Script, text) -> None:
    ann = s.client("ann").connect("ann")
    ann.frame(text)
    ann.alive()


FIRST = {
    "a subscribe": {"id": 1, "subscribe": {"channel": "open:x"}},
    "a presence": {"id": 1, "presence_stats": {"channel": "open:x"}},
    "a send": {"send": {"data": 1}},
    "a refresh": {"id": 1, "refresh": {"token": ""}},
    "an rpc": {"id": 1, "rpc": {"method": "x"}},
    "a history": {"id": 1, "history": {"channel": "open:x"}},
    "a pong": {},
    "a connect without an id": {"connect": {}},
    "an id alone": {"id": 1},
}


@script(encodings=("json",), each=FIRST)
def before_the_connect(s: Script, command) -> None:
    import json

    s.client("ann").frame(json.dumps(command))


@script(encodings=("json",), each={"a message of bytes": b'{"id":7,"presence_stats":{"channel":"open:x"}}', "an empty text": "", "a line break": "\n"})
def another_frame(s: Script, frame) -> None:
    s.client("ann").connect("ann").frame(frame)


@script(encodings=("protobuf",), each={"a text": "text", "a length without a command": b"\x05", "nothing": b"", "an empty command": b"\x00", "a length that is too long": b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "nonsense": b"\x02\xff\xff", "a field that nobody knows": b"\x04\xf8\x07\x01\x00"})
def a_frame_of_bytes(s: Script, frame) -> None:
    ann = s.client("ann").connect("ann")
    ann.frame(frame)
    ann.alive()


@script()
def a_ping(s: Script) -> None:
    s.client("ann").connect("ann").say("ping", {})


@script(each={"of a method": {"method": "x", "data": {"a": 1}}, "of no method": {"data": 1}, "of a namespace": {"method": "a:b"}})
def a_call(s: Script, content) -> None:
    s.client("ann").connect("ann").say("rpc", content).alive()


@script()
def a_message_that_is_too_large(s: Script) -> None:
    room = s.room("bare:hall")
    ann = s.join("ann", room)
    ann.publish(room, "a" * 60_000)
    ann.publish(room, "a" * 70_000)


@script()
def commands_that_come_together(s: Script) -> None:
    from tokens import Token

    room = s.room("open:hall")
    s.client("ann").say_together(
        {"connect": {"token": Token(sub=s.user("ann"))}},
        {"subscribe": {"channel": room}},
        {"publish": {"channel": room, "data": 1}},
        {"history": {"channel": room, "limit": 1}},
        {"presence_stats": {"channel": room}},
        {"unsubscribe": {"channel": room}},
    )


@script()
def a_refused_connect_and_more(s: Script) -> None:
    s.client("ann").say_together(
        {"connect": {"token": "nonsense"}}, {"subscribe": {"channel": s.room("open:hall")}}
    )
