"""Who is in a room, and who comes and goes."""

from script import Script, script


@script(each={name: name for name in ("open", "rec", "watched", "closed", "bare", "nobody", "sub")})
def presence(s: Script, namespace) -> None:
    room = s.room(f"{namespace}:hall")
    ann = s.client("ann").connect("ann")
    ann.presence(room).presence_stats(room)
    ann.subscribe(room)
    ann.presence(room).presence_stats(room)
    s.api("presence", {"channel": room})
    s.api("presence_stats", {"channel": room})


@script()
def presence_of_several(s: Script) -> None:
    room = s.room("open:hall")
    ann = s.join("ann", room)
    s.join("ben", room)
    s.client("second").connect("ann").subscribe(room)
    ann.presence(room).presence_stats(room)
    s.api("presence", {"channel": room})
    s.client("ben").leave()
    ann.presence_stats(room)
    s.api("presence_stats", {"channel": room})


@script(each={f"{n}, {'wished for' if w else 'not wished for'}": (n, w) for n in ("open", "rec", "bare", "closed", "watched") for w in (False, True)})
def coming_and_going(s: Script, value) -> None:
    namespace, is_wished = value
    room = s.room(f"{namespace}:hall")
    s.client("ann").connect("ann").subscribe(room, **({"join_leave": True} if is_wished else {}))
    ben = s.join("ben", room)
    ben.unsubscribe(room)
    ben.subscribe(room)
    ben.leave()
    s.client("ann").presence_stats(room)


@script()
def information_of_tokens_comes_along(s: Script) -> None:
    from tokens import Token

    room = s.room("rec:hall")
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), info={"name": "Ann"})})
    ann.subscribe(room, token=Token(sub=s.user("ann"), channel=room, info={"seat": 1}))
    ben = s.client("ben").say("connect", {"token": Token(sub=s.user("ben"), info="Ben")})
    ben.subscribe(room)
    ben.publish(room, 1)
    ann.publish(room, 2)
    ann.presence(room)
    ben.unsubscribe(room)
    ann.history(room, limit=10)
    s.api("presence", {"channel": room})


@script()
def who_is_put_out_has_left(s: Script) -> None:
    room = s.room("rec:hall")
    s.join("ann", room)
    s.join("ben", room)
    s.api("unsubscribe", {"user": s.user("ben"), "channel": room})
    s.api("disconnect", {"user": s.user("ben")})
    s.client("ann").presence(room)
