"""Rooms that a client is in because somebody else says so: its token, or the backend."""

from script import Script, script
from tokens import Token

CHANNELS = {
    "one": lambda s: {"channels": [s.room("closed:hall")]},
    "several": lambda s: {"channels": [s.room("closed:hall"), s.room("rec:hall"), s.room("bare:hall")]},
    "private": lambda s: {"channels": [s.room("$closed:hall")]},
    "the same twice": lambda s: {"channels": [s.room("closed:hall"), s.room("closed:hall")]},
    "of a namespace that nobody knows": lambda s: {"channels": [s.room("nobody:hall")]},
    "without a name": lambda s: {"channels": [""]},
    "an empty list": lambda s: {"channels": []},
    "null": lambda s: {"channels": None},
    "too many": lambda s: {"channels": [s.room(f"bare:{number}") for number in range(9)]},
    "for users": lambda s: {"channels": [s.room("own:hall#") + s.user("ben")]},
    "as an object": lambda s: {"subs": {s.room("closed:hall"): {}}},
    "with more about them": lambda s: {
        "subs": {s.room("rec:hall"): {"info": {"seat": 1}, "data": {"hello": 1}}, s.room("closed:hall"): {}}
    },
    "with base64": lambda s: {"subs": {s.room("rec:hall"): {"b64info": "MQ==", "b64data": "Mg=="}}},
    "with overrides": lambda s: {
        "subs": {
            s.room("closed:hall"): {"override": {"force_recovery": {"value": True}, "force_push_join_leave": {"value": True}}}
        }
    },
    "without presence": lambda s: {"subs": {s.room("closed:hall"): {"override": {"presence": {"value": False}}}}},
    "with joins off": lambda s: {"subs": {s.room("rec:hall"): {"override": {"join_leave": {"value": False}}}}},
    "both": lambda s: {"channels": [s.room("bare:hall")], "subs": {s.room("closed:hall"): {}}},
    "as a text": lambda s: {"channels": s.room("closed:hall")},
    "as numbers": lambda s: {"channels": [1]},
}


@script(each=CHANNELS)
def rooms_of_a_token(s: Script, make) -> None:
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), **make(s))})
    for name in ("closed:hall", "rec:hall"):
        s.api("publish", {"channel": s.room(name), "data": 1})
        s.api("presence", {"channel": s.room(name)})
    ann.publish(s.room("closed:hall"), 1)
    ann.history(s.room("closed:hall"), limit=5)
    ann.unsubscribe(s.room("closed:hall"))
    s.api("publish", {"channel": s.room("closed:hall"), "data": 2})


@script()
def a_room_of_a_token_is_entered_again(s: Script) -> None:
    room = s.room("closed:hall")
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), channels=[room])})
    ann.subscribe(room)
    ann.unsubscribe(room)
    ann.subscribe(room)


@script()
def a_refresh_with_the_same_rooms(s: Script) -> None:
    claims = {"sub": s.user("ann"), "channels": [s.room("closed:hall"), s.room("bare:hall")]}
    ann = s.client("ann").say("connect", {"token": Token(exp=600, **claims)})
    ann.say("refresh", {"token": Token(exp=900, **claims)})
    ann.alive()


@script(each={"with one more": ["closed:hall", "bare:hall", "rec:hall"], "with one less": ["closed:hall"], "with none": []})
def a_refresh_with_rooms(s: Script, names) -> None:
    first = [s.room("closed:hall"), s.room("bare:hall")]
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), exp=600, channels=first)})
    ann.say("refresh", {"token": Token(sub=s.user("ann"), exp=900, channels=[s.room(name) for name in names])})
    ann.alive()


@script()
def rooms_of_a_token_are_recovered(s: Script) -> None:
    room = s.room("rec:hall")
    ben = s.join("ben", room).publish(room, 1).publish(room, 2)
    ben.publish(room, 3)
    ann = s.client("ann").say(
        "connect",
        {
            "token": Token(sub=s.user("ann"), channels=[room]),
            "subs": {room: {"recover": True, "offset": 1, "epoch": s.epoch(room)}},
        },
    )
    ann.alive()


SUBSCRIBES = {
    "plain": {},
    "with information": {"info": {"seat": 1}},
    "with information in base64": {"b64info": "MQ=="},
    "with data": {"data": {"hello": 1}},
    "with data in base64": {"b64data": "eyJhIjoxfQ=="},
    "with wrong base64": {"b64data": "%"},
    "for an hour": {"expire_at": 4102444800},
    "of another session": {"session": "nothing"},
    "with recovery": {"override": {"force_recovery": {"value": True}}},
    "with positioning": {"override": {"force_positioning": {"value": True}}},
    "without presence": {"override": {"presence": {"value": False}}},
    "with pushes of joins": {"override": {"force_push_join_leave": {"value": True}}},
    "without joins": {"override": {"join_leave": {"value": False}}},
    "since a place": {"recover_since": {"offset": 1}},
    "since a place of another epoch": {"recover_since": {"offset": 1, "epoch": "another"}},
}
PUT = {f"{title}, in {name}": (body, name) for title, body in SUBSCRIBES.items() for name in ("closed:hall", "rec:hall", "bare:hall")}


@script(each=PUT)
def the_backend_puts_somebody_into_a_room(s: Script, value) -> None:
    body, name = value
    room = s.room(name)
    ann = s.client("ann").connect("ann")
    s.api("publish", {"channel": room, "data": "before"})
    s.api("publish", {"channel": room, "data": "before, too"})
    s.api("subscribe", {"user": s.user("ann"), "channel": room} | body)
    s.join("ben", s.room("open:hall"))
    s.api("subscribe", {"user": s.user("ben"), "channel": room})
    s.api("publish", {"channel": room, "data": 1})
    s.api("presence", {"channel": room})
    ann.unsubscribe(room)
    s.api("publish", {"channel": room, "data": 2})


@script(each={name: name for name in ("closed:hall", "rec:hall", "bare:hall")})
def the_backend_puts_somebody_in_twice(s: Script, name) -> None:
    room = s.room(name)
    ann = s.client("ann").connect("ann")
    s.api("subscribe", {"user": s.user("ann"), "channel": room})
    s.api("subscribe", {"user": s.user("ann"), "channel": room})
    ann.subscribe(room)
    s.join("ben", s.room("rec:other"))
    s.api("subscribe", {"user": s.user("ben"), "channel": s.room("rec:other")})


@script(each={name: name for name in ("closed:hall", "nobody:hall", "$closed:hall", "own:hall#somebody", "")})
def the_backend_puts_somebody_in_and_out(s: Script, name) -> None:
    room = s.room(name) if name else ""
    s.client("ann").connect("ann")
    s.api("subscribe", {"user": s.user("ann"), "channel": room})
    s.api("unsubscribe", {"user": s.user("ann"), "channel": room})
    s.api("unsubscribe", {"user": s.user("ann"), "channel": room})


@script()
def the_backend_names_one_connection(s: Script) -> None:
    room = s.room("closed:hall")
    one = s.client("one").connect("ann")
    s.client("two").connect("ann")
    s.api("subscribe", {"user": s.user("ann"), "channel": room, "client": one.id})
    s.api("publish", {"channel": room, "data": 1})
    s.api("subscribe", {"user": s.user("ann"), "channel": room, "client": "another"})
    s.api("unsubscribe", {"user": s.user("ann"), "channel": room, "client": "another"})
    s.api("unsubscribe", {"user": s.user("ann"), "channel": room, "client": one.id})
    s.api("disconnect", {"user": s.user("ann"), "client": "another"})
    s.api("disconnect", {"user": s.user("ann"), "client": one.id})


@script()
def the_backend_puts_out_of_a_room_that_was_asked_for(s: Script) -> None:
    room = s.room("open:hall")
    ann = s.join("ann", room)
    s.api("unsubscribe", {"user": s.user("ann"), "channel": room})
    ann.publish(room, 1)
    ann.subscribe(room)


DISCONNECTS = {
    "plain": {},
    "with a code": {"disconnect": {"code": 4501, "reason": "go home"}},
    "with a code that lets it come again": {"disconnect": {"code": 4001, "reason": "again"}},
    "without a reason": {"disconnect": {"code": 4001}},
    "without a code": {"disconnect": {"reason": "go home"}},
    "with code nought": {"disconnect": {"code": 0, "reason": "x"}},
    "of another session": {"session": "nothing"},
    "with an empty whitelist": {"whitelist": []},
}


@script(each=DISCONNECTS)
def the_backend_closes(s: Script, body) -> None:
    s.join("ann", s.room("open:hall"))
    s.join("ben", s.room("open:hall"))
    s.api("disconnect", {"user": s.user("ann")} | body)
    s.client("ben").presence_stats(s.room("open:hall"))


@script()
def the_backend_spares_some(s: Script) -> None:
    one = s.client("one").connect("ann")
    s.client("two").connect("ann")
    s.api("disconnect", {"user": s.user("ann"), "whitelist": [one.id]})
    one.alive()


REFRESHES = {
    "plain": {},
    "expired": {"expired": True},
    "later": {"expire_at": 4102444800},
    "in the past": {"expire_at": 1000},
    "for good": {"expire_at": 0},
    "with information": {"info": {"new": 1}},
    "of another session": {"session": "nothing"},
}


@script(each=REFRESHES)
def the_backend_refreshes(s: Script, body) -> None:
    room = s.room("open:hall")
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), exp=600)})
    ann.subscribe(room)
    s.api("refresh", {"user": s.user("ann")} | body)
    ann.publish(room, 1)
    ann.presence(room)


@script("brief")
def a_subscription_of_the_backend_ends(s: Script) -> None:
    import time

    room = s.room("closed:hall")
    s.client("ann").connect("ann")
    s.api("subscribe", {"user": s.user("ann"), "channel": room, "expire_at": int(time.time()) + 3600})
    s.api("presence_stats", {"channel": room})


@script("personal")
def a_room_of_each_user(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    s.client("ben").connect("ben")
    s.client("guest").say("connect", {"token": Token()})
    room = f"mine:#{s.user('ann')}"
    s.api("publish", {"channel": room, "data": {"for": "ann"}})
    s.api("presence", {"channel": room})
    ann.history(room, limit=5)
    ann.subscribe(room)
    s.client("second").connect("ann", subs={room: {"recover": True, "offset": 0, "epoch": ""}})
    s.client("third").say("connect", {"token": Token(sub=s.user("ann"), channels=[s.room("closed:hall")])})
    ann.unsubscribe(room)
    s.api("publish", {"channel": room, "data": 2})


@script("single")
def a_user_who_is_here_once(s: Script) -> None:
    s.client("one").connect("ann")
    s.client("ben").connect("ben")
    s.client("two").connect("ann")
    s.api("presence", {"channel": f"mine:#{s.user('ann')}"})
    s.client("guest").say("connect", {"token": Token()})
    s.client("another").say("connect", {"token": Token()})
