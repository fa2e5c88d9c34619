"""Who may do what: clients, subscribers and anonymous ones in namespaces that let each of them, or not."""

from script import Script, script
from servers import WALK


@script(each={bits: bits for bits in WALK})
def a_user_outside_of_a_room(s: Script, bits) -> None:
    room = s.room(f"walk{bits}:hall")
    ann = s.client("ann").connect("ann")
    ann.publish(room, 1).history(room, limit=5).presence(room).presence_stats(room)


@script(each={bits: bits for bits in WALK})
def a_user_in_a_room(s: Script, bits) -> None:
    room = s.room(f"walk{bits}:hall")
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, recoverable=True, positioned=True, join_leave=True)
    ann.publish(room, 1).history(room, limit=5).presence(room).presence_stats(room)
    s.client("ben").connect("ben").subscribe(room)


@script("guests", each={bits: bits for bits in WALK})
def a_guest_outside_of_a_room(s: Script, bits) -> None:
    room = s.room(f"walk{bits}:hall")
    s.client("ann").connect().publish(room, 1).history(room, limit=5).presence(room).presence_stats(room)


@script("guests", each={bits: bits for bits in WALK})
def a_guest_in_a_room(s: Script, bits) -> None:
    room = s.room(f"walk{bits}:hall")
    ann = s.client("ann").connect()
    ann.subscribe(room, recoverable=True, positioned=True, join_leave=True)
    ann.publish(room, 1).history(room, limit=5).presence(room).presence_stats(room)
    s.client("ben").connect().subscribe(room)


@script(each={bits: bits for bits in WALK})
def somebody_whom_the_backend_put_into_a_room(s: Script, bits) -> None:
    room = s.room(f"walk{bits}:hall")
    ann = s.client("ann").connect("ann")
    s.api("subscribe", {"user": s.user("ann"), "channel": room})
    ann.publish(room, 1).history(room, limit=5).presence(room).presence_stats(room)


@script("insecure", each={name: name for name in ("closed:hall", "$closed:hall", "own:hall#ben", "bare:hall", "nobody:hall")})
def everybody_where_nothing_is_asked(s: Script, kind) -> None:
    room = s.room(kind)
    ann = s.client("ann").connect()
    ann.subscribe(room, recoverable=True, positioned=True, join_leave=True)
    ann.publish(room, 1).history(room, limit=5).presence(room)


@script("insecure")
def a_token_where_nothing_is_asked(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    ann.subscribe(s.room("open:hall"))
    ann.presence(s.room("open:hall"))
    s.client("ben").say("connect", {"token": "nonsense"})


@script("nothing")
def a_token_where_there_is_no_key(s: Script) -> None:
    s.client("ann").connect("ann")
    s.client("ben").connect()
