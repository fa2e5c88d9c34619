"""What both servers ask the backend, and what they make of its answers."""

from script import Script, script

OVER_S = 5.5


def asks(s: Script, **said) -> dict:
    """Data that say what the backend is to answer."""
    return {"play": s.suffix, **said}


CONNECTS = {
    "a user": lambda s: asks(s, answer={"result": {"user": s.user("ann")}}),
    "nobody": lambda s: asks(s, answer={"result": {"user": ""}}),
    "nothing": lambda s: asks(s, answer={}),
    "an empty result": lambda s: asks(s, answer={"result": {}}),
    "information": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "info": {"name": "Ann"}, "data": {"hello": 1}}}),
    "base64": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "b64info": "MQ==", "b64data": "Mg=="}}),
    "an end": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "expire_at": 600}}),
    "an end in the past": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "expire_at": -60}}),
    "rooms": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "channels": [s.room("closed:hall")]}}),
    "rooms with more": lambda s: asks(
        s, answer={"result": {"user": s.user("ann"), "subs": {s.room("closed:hall"): {"data": {"a": 1}, "info": 2}}}}
    ),
    "a room that nobody knows": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "channels": ["nobody:x"]}}),
    "meta": lambda s: asks(s, answer={"result": {"user": s.user("ann"), "meta": {"plan": "gold"}}}),
    "an error": lambda s: asks(s, answer={"error": {"code": 1000, "message": "no"}}),
    "an error that passes": lambda s: asks(s, answer={"error": {"code": 1000, "message": "no", "temporary": True}}),
    "an error without a code": lambda s: asks(s, answer={"error": {"message": "no"}}),
    "a close": lambda s: asks(s, answer={"disconnect": {"code": 4500, "reason": "go"}}),
    "a close that passes": lambda s: asks(s, answer={"disconnect": {"code": 4000, "reason": "again"}}),
    "an error and a result": lambda s: asks(s, answer={"error": {"code": 1000, "message": "no"}, "result": {"user": "x"}}),
    "status 500": lambda s: asks(s, status=500),
    "status 403": lambda s: asks(s, status=403),
    "no JSON": lambda s: asks(s, text="nonsense"),
    "nothing at all": lambda s: asks(s, text=""),
    "a list": lambda s: asks(s, text="[]"),
}


@script("backend", each=CONNECTS)
def a_backend_says_of_a_connect(s: Script, make) -> None:
    room = s.room("open:hall")
    ann = s.client("ann").say("connect", {"data": make(s), "name": "js", "version": "1"})
    ann.subscribe(room).presence(room)


@script("backend")
def a_token_is_not_asked_about(s: Script) -> None:
    s.client("ann").connect("ann", data=asks(s)).alive()
    s.client("ben").say("connect", {"token": "nonsense", "data": asks(s)})


SUBSCRIBES = {
    "nothing": {"answer": {}},
    "yes": {"answer": {"result": {}}},
    "information": {"answer": {"result": {"info": {"seat": 1}, "data": {"welcome": 1}}}},
    "an end": {"answer": {"result": {"expire_at": 600}}},
    "an end in the past": {"answer": {"result": {"expire_at": -60}}},
    "overrides": {"answer": {"result": {"override": {"force_recovery": {"value": True}, "presence": {"value": False}}}}},
    "an error": {"answer": {"error": {"code": 1000, "message": "no"}}},
    "permission denied": {"answer": {"error": {"code": 103, "message": "no"}}},
    "a close": {"answer": {"disconnect": {"code": 4500, "reason": "go"}}},
    "status 500": {"status": 500},
    "no JSON": {"text": "nonsense"},
}


@script("backend", each=SUBSCRIBES)
def a_backend_says_of_a_subscribe(s: Script, said) -> None:
    room = s.room("asked:hall")
    ann = s.client("ann").connect("ann").subscribe(room, data=asks(s, **said), recoverable=True)
    ann.presence(room).alive()


PUBLISHES = {
    "nothing": {"answer": {}},
    "yes": {"answer": {"result": {}}},
    "other data": {"answer": {"result": {"data": {"other": 1}}}},
    "other data in base64": {"answer": {"result": {"b64data": "eyJhIjoxfQ=="}}},
    "tags": {"answer": {"result": {"tags": {"kind": "news"}}}},
    "skip_history": {"answer": {"result": {"skip_history": True}}},
    "a key": {"answer": {"result": {"idempotency_key": "k"}}},
    "an error": {"answer": {"error": {"code": 1000, "message": "no"}}},
    "a close": {"answer": {"disconnect": {"code": 4500, "reason": "go"}}},
    "status 500": {"status": 500},
    "no JSON": {"text": "nonsense"},
}


@script("backend", each=PUBLISHES)
def a_backend_says_of_a_publish(s: Script, said) -> None:
    room = s.room("asked:hall")
    ann = s.client("ann").connect("ann").subscribe(room, data=asks(s, answer={"result": {}}))
    ann.publish(room, asks(s, **said)).publish(room, asks(s, **said)).alive()
    s.api("history", {"channel": room, "limit": 5})


CALLS = {
    "nothing": {"answer": {}},
    "an empty result": {"answer": {"result": {}}},
    "data": {"answer": {"result": {"data": {"a": [1]}}}},
    "base64": {"answer": {"result": {"b64data": "eyJhIjoxfQ=="}}},
    "an error": {"answer": {"error": {"code": 1000, "message": "no"}}},
    "an error that passes": {"answer": {"error": {"code": 1001, "message": "later", "temporary": True}}},
    "a close": {"answer": {"disconnect": {"code": 4500, "reason": "go"}}},
    "status 500": {"status": 500},
    "no JSON": {"text": "nonsense"},
}
METHODS = ("do", "", "ns:do", "shut:do", "nobody:do")


@script("backend", each={f"{title}, of {method or 'no method'}": (said, method) for title, said in CALLS.items() for method in METHODS[:2]})
def a_backend_says_of_a_call(s: Script, value) -> None:
    said, method = value
    s.client("ann").connect("ann").say("rpc", {"method": method, "data": asks(s, **said)}).alive()


@script("backend", each={method: method for method in METHODS[2:]})
def a_call_of_a_namespace(s: Script, method) -> None:
    data = asks(s, answer={"result": {"data": 1}})
    s.client("ann").connect("ann").say("rpc", {"method": method, "data": data}).alive()


@script("backend", each={name: name for name in ("extended", "expired", "forever", "empty", "nothing", "failed")})
def a_backend_says_of_a_refresh(s: Script, name) -> None:
    said = asks(s, answer={"result": {"user": s.user(name), "expire_at": 2}})
    ann = s.client("ann").say("connect", {"data": said})
    s.wait(OVER_S)
    ann.alive()


@script("backend", each={name: name for name in ("extended", "expired", "forever", "empty", "nothing", "failed")})
def a_backend_says_of_a_sub_refresh(s: Script, name) -> None:
    ann = s.client("ann").connect(name)
    ann.subscribe(s.room("asked:hall"), data=asks(s, answer={"result": {"expire_at": 2}}))
    s.wait(OVER_S)
    ann.alive()
