"""What a backend may ask, and what it is told when it asks wrongly."""

from script import Script, script

PUBLISHES = {
    "a number": {"data": 1},
    "nothing": {},
    "null": {"data": None},
    "an empty object": {"data": {}},
    "base64": {"b64data": "eyJhIjoxfQ=="},
    "base64 that is no JSON": {"b64data": "/w=="},
    "wrong base64": {"b64data": "%"},
    "both": {"data": 1, "b64data": "Mg=="},
    "tags": {"data": 1, "tags": {"a": "b", "c": ""}},
    "tags that are numbers": {"data": 1, "tags": {"a": 1}},
    "empty tags": {"data": 1, "tags": {}},
    "skipping history": {"data": 1, "skip_history": True},
    "a delta where there is none": {"data": 1, "delta": True},
    "a version": {"data": 1, "version": 1},
    "a version as a text": {"data": 1, "version": "7"},
    "a field that nobody knows": {"data": 1, "nonsense": 1},
    "a room that is a number": {"channel": 1, "data": 1},
    "a room that is null": {"channel": None, "data": 1},
    "a room without a name": {"channel": "", "data": 1},
    "a namespace that nobody knows": {"channel": "nobody:x", "data": 1},
    "a room for users": {"channel": "own:SUFFIX#1", "data": 1},
    "a room whose name is too long": {"channel": "open:" + "a" * 300, "data": 1},
}
WHERE = {f"{title}, in {namespace}": (body, namespace) for title, body in PUBLISHES.items() for namespace in ("open", "bare")}


@script(each=WHERE)
def a_publish_of(s: Script, value) -> None:
    body, namespace = value
    room = s.room(f"{namespace}:hall")
    ann = s.join("ann", room)
    body = {key: value.replace("SUFFIX", s.suffix) if key == "channel" and value == str(value) else value for key, value in body.items()}
    s.api("publish", {"channel": room} | body)
    s.api("history", {"channel": room, "limit": 5})
    ann.publish(room, "after")


@script(each={name: name for name in ("open", "bare")})
def a_publish_that_is_sent_twice(s: Script, namespace) -> None:
    room, other = s.room(f"{namespace}:hall"), s.room(f"{namespace}:other")
    s.join("ann", room, other)
    for body in ({"channel": room, "data": 1}, {"channel": room, "data": 2}, {"channel": other, "data": 3}):
        s.api("publish", body | {"idempotency_key": "k"})
    s.api("publish", {"channel": room, "data": 4, "idempotency_key": ""})
    s.api("publish", {"channel": room, "data": 5, "idempotency_key": "l"})
    s.api("history", {"channel": room, "limit": 10})


@script(each={name: name for name in ("open", "small", "rec")})
def versions(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    s.join("ann", room)
    for version, epoch in ((5, ""), (5, ""), (4, ""), (6, ""), (1, "b"), (2, "b"), (1, "b"), (7, ""), (0, ""), (8, "c")):
        s.api("publish", {"channel": room, "data": f"{version}{epoch}", "version": version, "version_epoch": epoch})
    s.api("history", {"channel": room, "limit": 20})


BROADCASTS = {
    "two": ["open:a", "bare:b"],
    "none": [],
    "the same twice": ["open:a", "open:a"],
    "one that nobody knows": ["open:a", "nobody:b", "bare:c"],
    "one without a name": ["open:a", ""],
    "one for users": ["own:a#1"],
}


@script(each=BROADCASTS)
def a_broadcast(s: Script, names) -> None:
    s.join("ann", s.room("open:a"), s.room("bare:b"))
    rooms = [s.room(name) if name else "" for name in names]
    s.api("broadcast", {"channels": rooms, "data": {"a": 1}, "tags": {"t": "u"}})
    s.api("broadcast", {"channels": rooms, "data": 2, "idempotency_key": "k"})
    s.api("broadcast", {"channels": rooms, "data": 3, "idempotency_key": "k"})
    s.api("broadcast", {"channels": rooms})
    s.api("broadcast", {"channels": rooms, "b64data": "%"})


@script()
def a_broadcast_to_nowhere(s: Script) -> None:
    s.api("broadcast", {"data": 1})
    s.api("broadcast", {"channels": None, "data": 1})
    s.api("broadcast", {"channels": "open:a", "data": 1})


METHODS = (
    "publish broadcast subscribe unsubscribe disconnect refresh presence presence_stats history history_remove channels info "
    "rpc batch"
).split()


@script(each={name: name for name in METHODS if name not in ("info", "channels", "batch", "disconnect", "refresh")})
def a_method_without_anything(s: Script, method) -> None:
    s.api(method, {})
    s.api(method, "[]")
    s.api(method, "null")
    s.api(method, '"text"')


@script(each={name: name for name in METHODS})
def a_method_with_nonsense(s: Script, method) -> None:
    s.api(method, "{")
    s.api(method, "nonsense")


@script(each={name: name for name in METHODS})
def a_method_without_a_body(s: Script, method) -> None:
    if method not in ("info", "channels", "disconnect", "refresh"):
        s.api(method, "")


@script(each={name: name for name in METHODS})
def a_method_without_the_key(s: Script, method) -> None:
    s.api(method, {}, key=None)
    s.api(method, {}, key="wrong")
    s.api(method, {}, key="")


KEYS = {
    "in the header": ("POST", "/api/presence_stats", {"X_API_Key": "secret"}),
    "in lower case": ("POST", "/api/presence_stats", {"x_api_key": "secret"}),
    "as authorization": ("POST", "/api/presence_stats", {"Authorization": "apikey secret"}),
    "as authorization in capitals": ("POST", "/api/presence_stats", {"Authorization": "APIKEY secret"}),
    "as another authorization": ("POST", "/api/presence_stats", {"Authorization": "Bearer secret"}),
    "as authorization without a kind": ("POST", "/api/presence_stats", {"Authorization": "secret"}),
    "in the address": ("POST", "/api/presence_stats?api_key=secret", {}),
    "a wrong one in the address": ("POST", "/api/presence_stats?api_key=wrong", {}),
    "a wrong header, a good address": ("POST", "/api/presence_stats?api_key=secret", {"X_API_Key": "wrong"}),
    "by GET": ("GET", "/api/presence_stats", {"X_API_Key": "secret"}),
    "by PUT": ("PUT", "/api/presence_stats", {"X_API_Key": "secret"}),
    "by OPTIONS": ("OPTIONS", "/api/presence_stats", {"X_API_Key": "secret"}),
    "of no method": ("POST", "/api/nonsense", {"X_API_Key": "secret"}),
    "of no method without the key": ("POST", "/api/nonsense", {}),
    "of a method in capitals": ("POST", "/api/PUBLISH", {"X_API_Key": "secret"}),
    "with a slash": ("POST", "/api/presence_stats/", {"X_API_Key": "secret"}),
    "of nothing": ("POST", "/api/", {"X_API_Key": "secret"}),
}


@script(encodings=("json",), each=KEYS)
def a_request(s: Script, value) -> None:
    method, path, headers = value
    body = None if method in ("GET", "OPTIONS") else {"channel": s.room("open:hall")}
    s.http(method, path, body, **headers)


@script(encodings=("json",), each={"of a form": "application/x-www-form-urlencoded", "of text": "text/plain", "of nonsense": "x"})
def a_request_with_a_type(s: Script, type) -> None:
    s.http("POST", "/api/presence_stats", {"channel": s.room("open:hall")}, X_API_Key="secret", Content_Type=type)


@script(each={name: name for name in ("presence", "presence_stats", "history", "history_remove")})
def a_room_of_each_kind(s: Script, method) -> None:
    for name in ("open", "bare", "closed", "nobody", "watched", "cache", "$closed", "own"):
        s.api(method, {"channel": s.room(f"{name}:hall")})
    s.api(method, {"channel": ""})


@script()
def rooms_that_somebody_is_in(s: Script) -> None:
    s.join("ann", s.room("open:one"), s.room("bare:two"))
    s.join("ben", s.room("open:one"))
    for pattern in (f"*{s.suffix}", f"open:*{s.suffix}", f"open:???-{s.suffix}", f"nothing-{s.suffix}", s.room("open:one")):
        s.api("channels", {"pattern": pattern})


@script()
def procedures(s: Script) -> None:
    s.api("rpc", {"method": "nonsense", "params": {}})
    s.api("rpc", {"method": ""})


COMMANDS = {
    "two": [{"publish": {"channel": "open:a", "data": 1}}, {"presence_stats": {"channel": "open:a"}}],
    "with one that fails": [{"publish": {"channel": "nobody:a", "data": 1}}, {"publish": {"channel": "bare:a", "data": 1}}],
    "with nothing to say": [{"unsubscribe": {"user": "x", "channel": "bare:a"}}],
    "none": [],
    "of no method": [{"nonsense": {}}],
    "empty": [{}],
    "null": [None],
    "of two methods": [{"presence_stats": {"channel": "open:a"}, "history": {"channel": "open:a"}}],
    "a batch": [{"batch": {"commands": []}}],
    "of no procedure": [{"rpc": {"method": "nonsense"}}],
    "of a broadcast": [{"broadcast": {"channels": ["bare:a", "nobody:a"], "data": 1}}],
    "with a command that is null": [{"publish": None}],
}


@script(encodings=("json",), each={f"{name}{', at once' if p else ''}": (c, p) for name, c in COMMANDS.items() for p in (False, True)})
def a_batch(s: Script, value) -> None:
    commands, is_parallel = value
    s.api("batch", {"commands": _named(s, commands)} | ({"parallel": True} if is_parallel else {}))


def _named(s: Script, value):
    if isinstance(value, dict):
        return {key: s.room(item) if key == "channel" else _named(s, item) for key, item in value.items()}
    return [_named(s, item) for item in value] if isinstance(value, list) else value


@script(encodings=("json",))
def a_batch_of_nothing(s: Script) -> None:
    s.api("batch", {})
    s.api("batch", {"commands": None})
    s.api("batch", {"commands": {}})


OLD = {
    "one": '{"id":1,"method":"presence_stats","params":{"channel":"ROOM"}}',
    "two": '{"id":1,"method":"publish","params":{"channel":"ROOM","data":1}}\n{"id":2,"method":"history","params":{"channel":"ROOM"}}',
    "without an id": '{"method":"presence_stats","params":{"channel":"ROOM"}}',
    "of no method": '{"id":1,"method":"nonsense","params":{}}',
    "without a method": '{"id":1,"params":{}}',
    "without anything": '{"id":1,"method":"publish"}',
    "that fails": '{"id":1,"method":"publish","params":{"channel":"nobody:x","data":1}}',
    "nonsense": "{",
    "nothing": "",
}


@script(encodings=("json",), each=OLD)
def the_older_form(s: Script, text) -> None:
    s.http("POST", "/api", text.replace("ROOM", s.room("open:hall")), X_API_Key="secret")


FAILURES = {
    "102": ("publish", {"channel": "nobody:x", "data": 1}),
    "104": ("rpc", {"method": "nonsense"}),
    "107": ("publish", {"channel": "", "data": 1}),
    "108": ("history", {"channel": "bare:x"}),
    "none": ("publish", {"channel": "bare:x", "data": 1}),
    "a broadcast": ("broadcast", {"channels": ["nobody:x", "bare:x"], "data": 1}),
    "a batch": ("batch", {"commands": [{"publish": {"channel": "nobody:x", "data": 1}}]}),
}


@script("strict", encodings=("json",), each=FAILURES)
def an_error_as_a_status(s: Script, value) -> None:
    s.api(*value)


@script(encodings=("json",), each=FAILURES)
def an_error_as_a_status_by_the_header(s: Script, value) -> None:
    s.api(*value, X_Centrifugo_Error_Mode="transport")


@script()
def a_position_of_another_epoch(s: Script) -> None:
    room = s.room("open:hall")
    s.join("ann", room).publish(room, 1)
    s.api("history", {"channel": room, "limit": 5, "since": {"offset": 1, "epoch": "another"}})
    s.api("history", {"channel": room, "limit": 5, "since": {"offset": 1, "epoch": s.epoch(room)}})
    s.api("history", {"channel": room, "limit": 5, "since": {"offset": 1, "epoch": "another"}}, X_Centrifugo_Error_Mode="transport")
