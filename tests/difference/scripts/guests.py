"""Clients without a token, and connects with more than that in them."""

from script import Script, script


@script()
def a_client_without_a_token(s: Script) -> None:
    s.client("ann").connect()


@script("guests")
def a_guest_goes_in_and_out(s: Script) -> None:
    room = s.room("walk111:hall")
    ann = s.client("ann").connect()
    ann.subscribe(room).publish(room, {"a": 1})
    ben = s.client("ben").connect().subscribe(room)
    ben.presence(room)
    ben.presence_stats(room)
    ann.unsubscribe(room)
    ben.presence_stats(room)


@script("guests")
def a_guest_with_a_token(s: Script) -> None:
    room = s.room("open:hall")
    s.client("ann").connect("ann").subscribe(room)
    ben = s.client("ben").connect()
    ben.subscribe(room)
    ben.presence(room)


@script()
def a_second_connect(s: Script) -> None:
    s.client("ann").connect("ann").connect("ann")


@script()
def a_connect_with_all_that_it_may_hold(s: Script) -> None:
    s.client("ann").connect("ann", data={"a": [1, None]}, name="js", version="5.7.1", headers={"x": "y"}, flag=0)


EACH = {
    "open": "open:hall",
    "of a namespace that nobody knows": "nobody:hall",
    "that may not be entered": "closed:hall",
    "that is private": "$open:hall",
    "with a history": "rec:hall",
    "without anything": "bare:hall",
    "with an empty name": None,
}


@script(each=EACH)
def a_room_of_the_connect(s: Script, kind) -> None:
    room = "" if kind is None else s.room(kind)
    ann = s.client("ann").connect("ann", subs={room: {}})
    ann.presence(s.room("open:hall"))


@script()
def rooms_of_the_connect(s: Script) -> None:
    rooms = {s.room(name): {} for name in ("open:hall", "bare:hall", "rec:hall")}
    ann = s.client("ann").connect("ann", subs=rooms)
    for room in rooms:
        ann.publish(room, 1)


@script()
def a_room_of_the_connect_recovers_where_that_is_forced(s: Script) -> None:
    room = s.room("rec:hall")
    s.join("ann", room).publish(room, 1).publish(room, 2)
    s.client("ben").connect("ben", subs={room: {"recover": True, "offset": 1, "epoch": s.epoch(room)}})
    s.client("eve").connect("eve", subs={room: {"recover": True, "offset": 1, "epoch": "another"}})


@script(each={"nine": 9, "eight": 8})
def many_rooms_of_the_connect(s: Script, count) -> None:
    s.client("ann").connect("ann", subs={s.room(f"bare:{number}"): {} for number in range(count)})
