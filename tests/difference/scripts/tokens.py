"""Who a client is, and what becomes of it when its token is not good, or no longer."""

from script import Script, script
from tokens import PREVIOUS_SECRET, SUBSCRIPTION_SECRET, Token

BRIEF_S = 1
# Long enough for either server to have noticed that something has ended.
OVER_S = 4.5

CONNECTIONS = {
    "good": lambda s: Token(sub=s.user("ann")),
    "good for an hour": lambda s: Token(sub=s.user("ann"), exp=3600),
    "with a fraction of a second": lambda s: Token(sub=s.user("ann"), exp=3600.5),
    "of HS384": lambda s: Token(sub=s.user("ann"), algorithm="HS384"),
    "of HS512": lambda s: Token(sub=s.user("ann"), algorithm="HS512"),
    "of the secret before": lambda s: Token(sub=s.user("ann"), secret=PREVIOUS_SECRET),
    "of another secret": lambda s: Token(sub=s.user("ann"), secret="another"),
    "of the secret of nothing": lambda s: Token(sub=s.user("ann"), secret=""),
    "past its time": lambda s: Token(sub=s.user("ann"), exp=-10),
    "past its time, of another secret": lambda s: Token(sub=s.user("ann"), exp=-10, secret="another"),
    "before its time": lambda s: Token(sub=s.user("ann"), nbf=600),
    "after its beginning": lambda s: Token(sub=s.user("ann"), nbf=-600),
    "made in the future": lambda s: Token(sub=s.user("ann"), iat=600),
    "with an id": lambda s: Token(sub=s.user("ann"), jti="1", iat=-5),
    "of nobody": lambda s: Token(),
    "of an empty user": lambda s: Token(sub=""),
    "of a user that is a number": lambda s: Token(sub=42),
    "of a user that is null": lambda s: Token(sub=None),
    "whose end is a text": lambda s: Token(sub=s.user("ann"), exp="soon"),
    "whose end is null": lambda s: Token(sub=s.user("ann"), exp=None),
    "whose end is nought": lambda s: Token(sub=s.user("ann"), exp=0),
    "whose end is far": lambda s: Token(sub=s.user("ann"), exp=10**11),
    "with information": lambda s: Token(sub=s.user("ann"), info={"name": "Ann"}),
    "with information in base64": lambda s: Token(sub=s.user("ann"), b64info="eyJhIjoxfQ=="),
    "with wrong base64": lambda s: Token(sub=s.user("ann"), b64info="%"),
    "with both kinds of information": lambda s: Token(sub=s.user("ann"), info=1, b64info="Mg=="),
    "that expires later than it": lambda s: Token(sub=s.user("ann"), exp=600, expire_at=3600),
    "that never expires": lambda s: Token(sub=s.user("ann"), exp=600, expire_at=0),
    "that has expired but for itself": lambda s: Token(sub=s.user("ann"), exp=600, expire_at=-60),
    "that has expired and may stay": lambda s: Token(sub=s.user("ann"), exp=-60, expire_at=600),
    "for a room": lambda s: Token(sub=s.user("ann"), channel=s.room("closed:hall")),
    "with an empty room": lambda s: Token(sub=s.user("ann"), channel=""),
    "with claims that nobody knows": lambda s: Token(sub=s.user("ann"), roles=["admin"]),
    "with an audience that nobody asks for": lambda s: Token(sub=s.user("ann"), aud="chat", iss="shop"),
    "with audiences": lambda s: Token(sub=s.user("ann"), aud=["a", "b"]),
    "with meta": lambda s: Token(sub=s.user("ann"), meta={"plan": "gold"}),
    "of no algorithm": lambda s: Token(sub=s.user("ann"), algorithm="none"),
    "of an algorithm without a key": lambda s: Token(sub=s.user("ann"), algorithm="RS256"),
    "of an algorithm that nobody knows": lambda s: Token(sub=s.user("ann"), algorithm="XS256"),
    "with a critical header": lambda s: Token(sub=s.user("ann"), header={"crit": ["exp"]}),
    "with a key's name": lambda s: Token(sub=s.user("ann"), header={"kid": "k1"}),
    "of another type": lambda s: Token(sub=s.user("ann"), header={"typ": "JOSE"}),
    "with a tail": lambda s: Token(sub=s.user("ann"), tail="a"),
    "of four parts": lambda s: Token(sub=s.user("ann"), tail=".e30"),
    "of two parts": lambda s: "e30.e30",
    "that is none": lambda s: "nonsense",
    "that is empty": lambda s: "",
    "of spaces": lambda s: "   ",
}


@script(each=CONNECTIONS)
def a_connection_token(s: Script, make) -> None:
    ann = s.client("ann").say("connect", {"token": make(s)})
    ann.subscribe(s.room("open:hall"))
    ann.presence(s.room("open:hall"))


STRICT = {
    "good": dict(user_id="u"),
    "whose user stands elsewhere": dict(sub="u", user_id=None),
    "without a user": dict(),
    "of an empty user": dict(user_id=""),
    "of RS256": dict(user_id="u", algorithm="RS256"),
    "of RS384": dict(user_id="u", algorithm="RS384"),
    "of RS512": dict(user_id="u", algorithm="RS512"),
    "of ES256": dict(user_id="u", algorithm="ES256"),
    "for another audience": dict(user_id="u", aud="shop"),
    "for several audiences": dict(user_id="u", aud=["other", "chat"]),
    "for no audience": dict(user_id="u", aud=None),
    "of another issuer": dict(user_id="u", iss="thief"),
    "of no issuer": dict(user_id="u", iss=None),
    "of the secret before": dict(user_id="u", secret=PREVIOUS_SECRET),
    "of the secret of subscriptions": dict(user_id="u", secret=SUBSCRIPTION_SECRET),
    "of a user that is a number": dict(user_id=7),
}


@script("strict", each=STRICT)
def a_token_where_more_is_asked(s: Script, claims) -> None:
    said = {name: value for name, value in ({"aud": "chat", "iss": "shop"} | claims).items() if value is not None}
    ann = s.client("ann").say("connect", {"token": Token(**said)})
    ann.subscribe(s.room("open:hall"))
    ann.presence(s.room("open:hall"))


SUBSCRIPTIONS = {
    "good": lambda s, room: dict(),
    "good for an hour": lambda s, room: dict(exp=3600),
    "for another room": lambda s, room: dict(channel=s.room("closed:other")),
    "for no room": lambda s, room: dict(channel=None),
    "of another user": lambda s, room: dict(sub=s.user("ben")),
    "of no user": lambda s, room: dict(sub=None),
    "past its time": lambda s, room: dict(exp=-10),
    "past its time, for another room": lambda s, room: dict(exp=-10, channel=s.room("closed:other")),
    "before its time": lambda s, room: dict(nbf=600),
    "of another secret": lambda s, room: dict(secret="another"),
    "with information": lambda s, room: dict(info={"seat": 3}),
    "with information in base64": lambda s, room: dict(b64info="eyJhIjoxfQ=="),
    "with data": lambda s, room: dict(data={"welcome": True}),
    "with data in base64": lambda s, room: dict(b64data="eyJhIjoxfQ=="),
    "that never expires": lambda s, room: dict(exp=600, expire_at=0),
    "that has expired but for itself": lambda s, room: dict(exp=600, expire_at=-60),
    "that expires later than it": lambda s, room: dict(exp=600, expire_at=3600),
    "without presence": lambda s, room: dict(override={"presence": {"value": False}}),
    "with joins and leaves pushed": lambda s, room: dict(override={"force_push_join_leave": {"value": True}}),
    "with recovery": lambda s, room: dict(override={"force_recovery": {"value": True}}),
    "with positioning": lambda s, room: dict(override={"force_positioning": {"value": True}}),
    "without joins and leaves": lambda s, room: dict(override={"join_leave": {"value": False}}),
    "with an empty override": lambda s, room: dict(override={}),
    "with a client that is another": lambda s, room: dict(client="another"),
}
KINDS = {
    f"{title}, in {kind}": (make, kind)
    for title, make in SUBSCRIPTIONS.items()
    for kind in ("closed:hall", "$closed:hall", "open:hall")
}


@script(each=KINDS)
def a_subscription_token(s: Script, value) -> None:
    make, kind = value
    room = s.room(kind)
    claims = {"sub": s.user("ann"), "channel": room} | make(s, room)
    claims = {name: value for name, value in claims.items() if value is not None}
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, token=Token(**claims))
    ann.presence(room)
    ann.history(room, limit=1)
    ann.publish(room, 1)


@script(each={name: name for name in ("nonsense", "", "a.b.c")})
def a_subscription_token_that_is_none(s: Script, token) -> None:
    s.client("ann").connect("ann").subscribe(s.room("$closed:hall"), token=token)


@script(each={"of subscriptions": SUBSCRIPTION_SECRET, "of connections": None})
def a_subscription_token_of_the_secret(s: Script, secret) -> None:
    room = s.room("closed:hall")
    claims = dict(sub=s.user("ann"), channel=room)
    token = Token(**claims) if secret is None else Token(secret=secret, **claims)
    s.client("ann").connect("ann").subscribe(room, token=token)


@script("strict", each={"of subscriptions": SUBSCRIPTION_SECRET, "of connections": None})
def a_subscription_token_with_keys_of_its_own(s: Script, secret) -> None:
    room = s.room("closed:hall")
    claims = dict(sub="u", channel=room)
    token = Token(**claims) if secret is None else Token(secret=secret, **claims)
    ann = s.client("ann").say("connect", {"token": Token(user_id="u", aud="chat", iss="shop")})
    ann.subscribe(room, token=token)


@script("strict")
def a_user_of_a_subscription_by_the_claim_of_connections(s: Script) -> None:
    room = s.room("closed:hall")
    ann = s.client("ann").say("connect", {"token": Token(user_id="u", aud="chat", iss="shop")})
    ann.subscribe(room, token=Token(secret=SUBSCRIPTION_SECRET, user_id="u", channel=room))


REFRESHES = {
    "good": lambda s: Token(sub=s.user("ann"), exp=3600),
    "without an end": lambda s: Token(sub=s.user("ann")),
    "that never expires": lambda s: Token(sub=s.user("ann"), exp=600, expire_at=0),
    "of another user": lambda s: Token(sub=s.user("ben"), exp=600),
    "of nobody": lambda s: Token(exp=600),
    "past its time": lambda s: Token(sub=s.user("ann"), exp=-10),
    "that has expired but for itself": lambda s: Token(sub=s.user("ann"), exp=600, expire_at=-10),
    "of another secret": lambda s: Token(sub=s.user("ann"), secret="another"),
    "for a room": lambda s: Token(sub=s.user("ann"), channel="x"),
    "with information": lambda s: Token(sub=s.user("ann"), exp=600, info={"new": True}),
    "with other rooms": lambda s: Token(sub=s.user("ann"), exp=600, channels=["news"]),
    "that is none": lambda s: "nonsense",
    "that is empty": lambda s: "",
}


@script(each=REFRESHES)
def a_refresh(s: Script, make) -> None:
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), exp=600)})
    ann.subscribe(s.room("open:hall"))
    ann.say("refresh", {"token": make(s)})
    ann.presence(s.room("open:hall"))


@script()
def a_refresh_of_what_never_ends(s: Script) -> None:
    ann = s.client("ann").connect("ann")
    ann.say("refresh", {"token": Token(sub=s.user("ann"), exp=600)})
    ann.say("refresh", {"token": Token(sub=s.user("ann"))})


SUB_REFRESHES = {
    "good": lambda s, room: dict(exp=3600),
    "without an end": lambda s, room: dict(),
    "for another room": lambda s, room: dict(exp=600, channel=s.room("closed:other")),
    "of another user": lambda s, room: dict(exp=600, sub=s.user("ben")),
    "that has expired but for itself": lambda s, room: dict(exp=600, expire_at=-10),
    "of another secret": lambda s, room: dict(exp=600, secret="another"),
    "with information": lambda s, room: dict(exp=600, info={"new": True}),
    "past its time": lambda s, room: dict(exp=-10),
}


@script(each=SUB_REFRESHES)
def a_sub_refresh(s: Script, make) -> None:
    room = s.room("closed:hall")
    claims = {"sub": s.user("ann"), "channel": room}
    ann = s.client("ann").connect("ann").subscribe(room, token=Token(exp=600, **claims))
    ann.say("sub_refresh", {"channel": room, "token": Token(**(claims | make(s, room)))})


@script(each={"of a room that it is not in": "closed:hall", "of a room without a token": "open:hall"})
def a_sub_refresh_that_is_not_expected(s: Script, kind) -> None:
    room = s.room(kind)
    ann = s.client("ann").connect("ann")
    if kind.startswith("open"):
        ann.subscribe(room)
    ann.say("sub_refresh", {"channel": room, "token": Token(sub=s.user("ann"), channel=room, exp=600)})


@script(each={"nonsense": "nonsense", "empty": ""})
def a_sub_refresh_by_no_token(s: Script, token) -> None:
    room = s.room("closed:hall")
    claims = {"sub": s.user("ann"), "channel": room}
    ann = s.client("ann").connect("ann").subscribe(room, token=Token(exp=600, **claims))
    ann.say("sub_refresh", {"channel": room, "token": token})


@script("brief")
def a_connection_that_outlives_its_token(s: Script) -> None:
    s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), exp=BRIEF_S)})
    s.wait(OVER_S)


@script("brief")
def a_connection_whose_token_is_refreshed(s: Script) -> None:
    ann = s.client("ann").say("connect", {"token": Token(sub=s.user("ann"), exp=2)})
    ann.say("refresh", {"token": Token(sub=s.user("ann"), exp=600)})
    s.wait(OVER_S)
    ann.alive()


@script("brief")
def a_subscription_that_outlives_its_token(s: Script) -> None:
    room = s.room("closed:hall")
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, token=Token(sub=s.user("ann"), channel=room, exp=BRIEF_S))
    s.wait(OVER_S)
    ann.subscribe(room, token=Token(sub=s.user("ann"), channel=room))


@script("brief")
def a_subscription_whose_token_is_refreshed(s: Script) -> None:
    room = s.room("closed:hall")
    ann = s.client("ann").connect("ann")
    ann.subscribe(room, token=Token(sub=s.user("ann"), channel=room, exp=2))
    ann.say("sub_refresh", {"channel": room, "token": Token(sub=s.user("ann"), channel=room, exp=600)})
    s.wait(OVER_S)
    s.api("publish", {"channel": room, "data": 1})


@script("brief")
def a_client_that_says_nothing(s: Script) -> None:
    s.client("ann").frame("{}" if s.encoding == "json" else b"\x00")
    s.wait(2.5)
