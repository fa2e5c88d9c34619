"""Other signs in the names of rooms and procedures than the usual ones, and none."""

from script import Script, script
from scripts.callbacks import asks
from tokens import Token

# Of rooms that are named `~own/hall@@ann;ben`.
NAMES = {
    "of a namespace": "open/hall",
    "of a namespace, by the usual sign": "open:hall",
    "of a namespace that nobody knows": "nobody/hall",
    "with an empty namespace": "/hall",
    "with two boundaries": "open/a/b",
    "of an expression": "spelled/abc",
    "of an expression that it does not match": "spelled/ABC",
    "private": "~hall",
    "private, of a namespace": "~open/hall",
    "private, of a namespace that nobody knows": "~nobody/hall",
    "private, by the usual sign": "$hall",
    "private twice": "~~hall",
    "for users where there are none": "open/a@@ann",
}


def _visit(s: Script, room: str, **wishes) -> None:
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, **wishes)
    ann.publish(room, 1)
    ann.presence(room)
    ann.history(room, limit=1)
    ann.unsubscribe(room)


@script("signs", each=NAMES)
def other_signs_a_room(s: Script, name) -> None:
    _visit(s, s.room(name))


@script("signs")
def other_signs_a_private_room_by_its_token(s: Script) -> None:
    room = s.room("~open/hall")
    s.client("ann").connect("ann").subscribe(room, token=Token(sub=s.user("ann"), channel=room)).publish(room, 1)


OF_USERS = {
    "its own": "own/hall@@{ann}",
    "of several": "own/hall@@{ben};{ann}",
    "of another": "own/hall@@{ben}",
    "of nobody": "own/hall@@",
    "of two lists": "own/hall@@{ben}@@{ann}",
    "of half a sign more": "own/hall@@@{ann}",
    "by half a sign": "own/hall@{ann}",
    "by the usual signs": "own/hall#{ben},{ann}",
    "its own, private": "~own/hall@@{ann}",
    "its own, where everybody may": "both/hall@@{ann}",
    "of another, where everybody may": "both/hall@@{ben}",
    "by the usual signs, where everybody may": "both/hall#{ben}",
}


@script("signs", each=OF_USERS)
def other_signs_a_room_for_users(s: Script, name) -> None:
    _visit(s, name.format(ann=s.user("ann"), ben=s.user("ben")))


@script("signs", each={"plain": "ann", "with a comma": "a,b", "with the usual boundary": "a#b"})
def other_signs_a_room_of_ones_own(s: Script, user) -> None:
    ann = s.client("ann").connect(user)
    s.api("publish", {"channel": f"mine/@@{s.user(user)}", "data": 1})
    ann.presence(f"mine/@@{s.user(user)}")


@script("signs", each={"usual": "open:hall", "other": "open/hall", "unknown": "nobody/hall", "private": "~open/hall"})
def other_signs_the_server_api(s: Script, name) -> None:
    room = s.room(name)
    for method, more in {"publish": {"data": 1}, "history": {"limit": 1}, "presence": {}, "presence_stats": {}}.items():
        s.api(method, {"channel": room} | more)


# An empty sign is the usual one.
@script("signless", each={"of a namespace": "open:{n}", "private": "${n}", "private, of a namespace": "$open:{n}", "for two users": "own:hall#{ann},{ben}"})
def empty_signs_a_room(s: Script, name) -> None:
    _visit(s, name.format(n=s.suffix, ann=s.user("ann"), ben=s.user("ben")))


@script("backend_signs", each={name: name for name in ("sum", "ns/sum", "shut/sum", "nobody/sum", "ns:sum", "nobody:sum", "/sum")})
def other_signs_a_procedure(s: Script, method) -> None:
    s.client("ann").connect("ann").say("rpc", {"method": method, "data": asks(s)}).alive()
