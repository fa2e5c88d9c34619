"""Names of rooms, and going in and out of them."""

from script import Script, script

NAMES = {
    "plain": "hall",
    "of a namespace": "open:hall",
    "of a namespace that nobody knows": "nobody:hall",
    "with an empty namespace": ":hall",
    "with two colons": "open:a:b",
    "private": "$hall",
    "private, of a namespace": "$open:hall",
    "private, of a namespace that nobody knows": "$nobody:hall",
    "private twice": "$$hall",
    "a dollar within": "open:a$b",
    "for users where there are none": "open:a#ann",
    "with a slash": "open:a/b?c=d&e",
    "with a space": "open:a b",
    "with every sign": "open:!\"%'()*+,-./;<=>?@[]^_`{|}~",
    "with a backslash": "open:a\\b",
    "beyond ASCII": "open:хол",
    "with a picture": "open:🎈",
    "with a line break": "open:a\nb",
    "with a tab": "open:a\tb",
    "of an expression": "spelled:abc",
    "of an expression that it does not match": "spelled:ABC",
    "in capitals": "OPEN:hall",
    "of the longest kind": "open:" + "a" * 230,
    "a little too long": "open:" + "a" * 260,
    "much too long": "open:" + "a" * 5000,
}


@script(each=NAMES)
def a_room(s: Script, name) -> None:
    room = s.room(name)
    ann = s.client("ann").connect("ann")
    ann.subscribe(room)
    ann.publish(room, 1)
    ann.presence(room)
    ann.history(room, limit=1)
    ann.unsubscribe(room)


@script()
def a_room_with_its_namespace_alone(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    ann.subscribe("bare:").publish("bare:", s.suffix).unsubscribe("bare:")


EMPTY = {name: name for name in ("subscribe", "unsubscribe", "publish", "history", "presence", "presence_stats", "sub_refresh")}


@script(each=EMPTY)
def a_room_without_a_name(s: Script, kind) -> None:
    content = {"channel": ""} | ({"data": 1} if kind == "publish" else {})
    s.client("ann").connect("ann").say(kind, content).alive()


OF_USERS = {
    "its own": ("own:hall#{ann}", False),
    "of several": ("own:hall#{ben},{ann}", False),
    "of another": ("own:hall#{ben}", False),
    "of nobody": ("own:hall#", False),
    "without users": ("own:hall", False),
    "of two lists": ("own:hall#{ben}#{ann}", False),
    "its own, private": ("$own:hall#{ann}", False),
    "its own, where everybody may": ("both:hall#{ann}", False),
    "of another, where everybody may": ("both:hall#{ben}", False),
    "with spaces": ("own:hall#{ben}, {ann}", False),
}


@script(each=OF_USERS)
def a_room_for_users(s: Script, value) -> None:
    room = value[0].format(ann=s.user("ann"), ben=s.user("ben"))
    ann = s.client("ann").connect("ann")
    ann.subscribe(room)
    ann.publish(room, 1).presence(room).history(room, limit=1)


@script()
def a_room_is_entered_twice(s: Script) -> None:
    room = s.room("open:hall")
    s.join("ann", room).subscribe(room).unsubscribe(room).subscribe(room)


@script()
def a_room_is_left_twice(s: Script) -> None:
    room = s.room("open:hall")
    s.join("ann", room).unsubscribe(room).unsubscribe(room)


@script()
def a_room_is_left_that_nobody_is_in(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    ann.unsubscribe(s.room("open:hall")).unsubscribe(s.room("nobody:hall")).unsubscribe(s.room("closed:hall"))


@script()
def more_rooms_than_a_client_may_be_in(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    for number in range(9):
        ann.subscribe(s.room(f"bare:{number}"))
    ann.unsubscribe(s.room("bare:0")).subscribe(s.room("bare:9"))


@script()
def rooms_are_entered_together(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    rooms = [s.room(f"{name}:hall") for name in ("open", "rec", "bare", "nobody", "closed")]
    ann.say_together(*({"subscribe": {"channel": room}} for room in rooms))
    ann.say_together(*({"publish": {"channel": room, "data": 1}} for room in rooms))
    ann.say_together(*({"unsubscribe": {"channel": room}} for room in rooms))


@script()
def a_subscribe_with_data(s: Script) -> None:
    s.client("ann").connect("ann").subscribe(s.room("open:hall"), data={"why": "curious"})


WISHES = {
    f"{wish}, in {namespace}": (wish, namespace)
    for wish in ("recoverable", "positioned", "join_leave", "all", "delta", "flag 2")
    for namespace in ("open", "rec", "cache", "bare", "watched", "small", "sub")
}


@script(each=WISHES)
def a_wish(s: Script, value) -> None:
    wish, namespace = value
    wishes = {
        "all": {"recoverable": True, "positioned": True, "join_leave": True},
        "delta": {"delta": "fossil"},
        "flag 2": {"flag": 2, "recover": True, "recoverable": True, "offset": 5, "epoch": "another"},
    }.get(wish, {wish: True})
    room = s.room(f"{namespace}:hall")
    ann = s.client("ann").connect("ann").subscribe(room, **wishes)
    ben = s.client("ben").connect("ben").subscribe(room)
    ben.unsubscribe(room)
    ann.publish(room, 1)


@script(each={"a word": {"op": "", "key": "a", "cmp": "eq", "val": "b"}, "nothing": {}})
def a_filter_where_there_is_none(s: Script, filter) -> None:
    s.client("ann").connect("ann").subscribe(s.room("open:hall"), tf=filter).alive()


@script()
def a_delta_that_nobody_knows(s: Script) -> None:
    s.client("ann").connect("ann").subscribe(s.room("open:hall"), delta="nonsense").alive()
