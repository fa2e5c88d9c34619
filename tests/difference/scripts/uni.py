"""Clients that only listen."""

import json

from script import Client, Script, script
from tokens import Token

WAYS = {name: name for name in ("uni_websocket", "uni_http_stream", "uni_sse")}


def _connect(s: Script, who: str, way: str, **content) -> Client:
    """Connects by this way, with what a connect request says."""
    if way == "uni_websocket":
        return s.client(who, f"/connection/{way}").frame(content)
    if way == "uni_http_stream":
        return s.client(who).listen("POST", f"/connection/{way}", content)
    return s.client(who).listen("POST", f"/connection/{way}", content)


@script(encodings=("json",), each=WAYS)
def a_listener_with_a_token(s: Script, way) -> None:
    room, more = s.room("closed:hall"), s.room("closed:more")
    _connect(s, "ann", way, token=Token(sub=s.user("ann"), exp=600, channels=[room]), name="js")
    s.api("publish", {"channel": room, "data": {"a": 1}, "tags": {"t": "u"}})
    s.api("presence", {"channel": room})
    s.api("subscribe", {"user": s.user("ann"), "channel": more, "data": {"welcome": 1}})
    s.api("publish", {"channel": more, "data": 2})
    s.api("unsubscribe", {"user": s.user("ann"), "channel": more})
    s.api("refresh", {"user": s.user("ann"), "expire_at": 4102444800})
    s.api("disconnect", {"user": s.user("ann"), "disconnect": {"code": 4501, "reason": "go home"}})


@script(encodings=("json",), each=WAYS)
def a_listener_with_rooms_of_its_own(s: Script, way) -> None:
    room = s.room("rec:hall")
    ben = s.join("ben", room).publish(room, 1).publish(room, 2)
    subs = {room: {"recover": True, "offset": 1, "epoch": s.epoch(room)}, s.room("open:hall"): {}, s.room("closed:hall"): {}}
    _connect(s, "ann", way, token=Token(sub=s.user("ann")), subs=subs)
    ben.publish(room, 3)
    ben.unsubscribe(room)


REFUSED = {
    "without a token": {},
    "past its time": {"token": Token(sub="ann", exp=-10)},
    "of another secret": {"token": Token(sub="ann", secret="another")},
    "that is none": {"token": "nonsense"},
    "for a room": {"token": Token(sub="ann", channel="x")},
    "with a room that nobody knows": {"token": Token(sub="ann", channels=["nobody:x"])},
}


@script(encodings=("json",), each={f"{title}, by {way}": (content, way) for title, content in REFUSED.items() for way in WAYS})
def a_listener_that_is_refused(s: Script, value) -> None:
    content, way = value
    _connect(s, "ann", way, **content)


@script("guests", encodings=("json",), each=WAYS)
def a_listener_who_is_a_guest(s: Script, way) -> None:
    room = s.room("walk111:hall")
    _connect(s, "ann", way, subs={room: {}})
    s.client("ben").connect().subscribe(room).publish(room, 1)


@script(encodings=("json",))
def a_listener_by_its_address(s: Script) -> None:
    said = json.dumps({"sub": s.user("ann"), "channels": [s.room("closed:hall")]})
    s.client("ann").listen("GET", f"/connection/uni_sse?cf_connect={said}")
    s.api("publish", {"channel": s.room("closed:hall"), "data": "line\nbreak"})


@script("brief", encodings=("json",), each=WAYS)
def a_listener_that_outlives_its_token(s: Script, way) -> None:
    _connect(s, "ann", way, token=Token(sub=s.user("ann"), exp=1))
    s.wait(4.5)


@script(encodings=("json",), each={"nonsense": "nonsense", "a list": "[]", "a command": '{"id":1,"connect":{}}', "nothing": ""})
def a_first_frame_of_a_listener(s: Script, frame) -> None:
    s.client("ann", "/connection/uni_websocket").frame(frame)


@script(encodings=("json",))
def a_second_frame_of_a_listener(s: Script) -> None:
    _connect(s, "ann", "uni_websocket", token=Token(sub=s.user("ann"))).frame({"a": 1})
    s.api("disconnect", {"user": s.user("ann")})


@script(encodings=("json",), each={method: method for method in ("GET", "POST", "OPTIONS")})
def a_connection_is_warmed_up(s: Script, method) -> None:
    s.http(method, "/connection/init")


@script(encodings=("json",), each={way: way for way in ("uni_http_stream", "uni_sse")})
def a_request_of_a_listener(s: Script, way) -> None:
    s.http("GET", f"/connection/{way}")
    s.http("POST", f"/connection/{way}", "nonsense")
    s.http("POST", f"/connection/{way}", "")
