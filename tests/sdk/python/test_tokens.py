"""Who somebody is, by tokens as a backend signs them, outside of development mode."""

import base64
import hashlib
import hmac
import json
import time
import unittest
from typing import Any

import cent
from centrifuge import UnauthorizedError

from people import PATIENCE_S, ServedCase, on_every_encoding, until

SECRET = "secret"
CONFIG = """
[client.token]
hmac_secret_key = "secret"

[http_api]
key = "key"

[channel.without_namespace]
history_size = 100
history_ttl = "1h"
presence = true
allow_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_presence_for_subscriber = true

[[channel.namespaces]]
name = "closed"
presence = true
allow_presence_for_subscriber = true

[[channel.namespaces]]
name = "own"
allow_user_limited_channels = true
"""


def token(secret: str = SECRET, **claims: Any) -> str:
    """Signs claims; moments are in seconds from now."""
    now = int(time.time())
    claims |= {name: now + claims[name] for name in ("exp", "nbf") if name in claims}

    def encode(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    header = {"alg": "HS256", "typ": "JWT"}
    message = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{message}.{encode(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest())}"


class Backend:
    """Hands out tokens, and counts how often it was asked."""

    def __init__(self, **claims: Any) -> None:
        self.claims = claims
        self.asked = 0

    async def __call__(self, channel: str = "") -> str:
        self.asked += 1
        return token(**self.claims, **({"channel": channel} if channel else {}))


class Tokens(ServedCase):
    config = CONFIG
    is_dev = False

    def room(self, name: str) -> str:
        return f"{name}-{self.id().rsplit('.', 2)[-2]}-{self.id().rsplit('.', 1)[-1]}"

    async def backend(self, method: str, **body: Any) -> Any:
        api = cent.AsyncClient(f"http://127.0.0.1:{self.server.port}/api", "key", timeout=PATIENCE_S)
        try:
            request = getattr(cent, f"{method.title()}Request")(**body)
            return await getattr(api, method)(request)
        finally:
            await api.close()

    async def test_a_good_token_says_who_somebody_is(self) -> None:
        room = self.room("hall")
        ann = await self.connect("Ann", token=token(sub="ann", info={"name": "Ann"}))
        member = await ann.enter(room)
        [info] = (await member.presence()).values()
        self.assertEqual((info.user, info.conn_info), ("ann", {"name": "Ann"}))
        await member.publish({"text": "hello"})
        await member.heard(1)
        self.assertEqual(member.publications[0].info.user, "ann")

    async def test_a_wrong_token_is_refused_for_good(self) -> None:
        for name, wrong in {
            "nonsense": "nonsense",
            "another secret": token("another", sub="ann"),
            "of a room": token(sub="ann", channel="hall"),
        }.items():
            with self.subTest(name):
                stranger = self.person("Stranger", token=wrong)
                await stranger.client.connect()
                await until(lambda: stranger.disconnected, "the end")
                self.assertEqual(stranger.disconnected[0].code, 3500)

    async def test_who_brings_no_token_is_not_let_in(self) -> None:
        stranger = self.person("Stranger")
        await stranger.client.connect()
        await until(lambda: stranger.disconnected or stranger.errors, "an answer")
        self.assertEqual(stranger.connected, [])

    async def test_a_token_past_its_time_is_replaced(self) -> None:
        backend = Backend(sub="ann", exp=3600)
        ann = await self.connect("Ann", token=token(sub="ann", exp=-60), get_token=backend)
        self.assertEqual(backend.asked, 1)
        self.assertEqual(len(ann.connected), 1)

    async def test_tokens_are_refreshed_before_they_are_over(self) -> None:
        backend = Backend(sub="ann", exp=2)
        ann = await self.connect("Ann", get_token=backend)
        rooms = Backend(sub="ann", exp=2)
        member = await ann.enter(self.room("closed:hall"), get_token=rooms)
        await until(lambda: backend.asked >= 3 and rooms.asked >= 3, "three tokens of each")
        self.assertEqual((len(ann.connected), len(member.entered)), (1, 1))
        self.assertEqual((ann.disconnected, member.left), ([], []))

    async def test_who_is_not_logged_in_any_more_is_out(self) -> None:
        async def refuse() -> str:
            raise UnauthorizedError()

        nobody = self.person("Nobody", get_token=refuse)
        await nobody.client.connect()
        await until(lambda: nobody.disconnected, "the end")

    async def test_a_backend_that_fails_is_asked_again(self) -> None:
        asked = 0

        async def fail_at_first() -> str:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise RuntimeError("no backend today")
            return token(sub="ann")

        ann = self.person("Ann", get_token=fail_at_first)
        await ann.connect()
        self.assertEqual((asked, len(ann.connected)), (3, 1))

    async def test_a_room_opens_by_its_token(self) -> None:
        room = self.room("$closed:hall")
        ann = await self.connect("Ann", token=token(sub="ann"))
        shut = ann.member(self.room("closed:other"))
        await shut.subscription.subscribe()
        await until(lambda: shut.left, "the refusal")
        self.assertEqual(shut.left[0].code, 103)
        backend = Backend(sub="ann")
        late = token(sub="ann", channel=room, exp=-60)
        member = await ann.enter(room, token=late, get_token=backend)
        self.assertEqual(backend.asked, 1)
        self.assertEqual(list((await member.presence()).keys()), [ann.id])

    async def test_a_room_of_users_is_theirs(self) -> None:
        ann = await self.connect("Ann", token=token(sub="ann"))
        await ann.enter("own:hall#ann,ben")
        other = ann.member("own:hall#ben")
        await other.subscription.subscribe()
        await until(lambda: other.left, "the refusal")
        self.assertEqual(other.left[0].code, 103)

    async def test_a_token_puts_somebody_into_rooms(self) -> None:
        room = self.room("closed:hall")
        ann = await self.connect("Ann", token=token(sub=self.id(), subs={room: {"data": {"welcome": 1}}}))
        await until(lambda: ann.served, "the room")
        self.assertEqual((ann.served[0].channel, ann._payload.decode(ann.served[0].data)), (room, {"welcome": 1}))
        await self.backend("publish", channel=room, data="hello")
        await until(lambda: ann.served_publications, "what is said there")

    async def test_who_is_put_away_by_the_backend_stays_away(self) -> None:
        user = self.id()
        ann = await self.connect("Ann", token=token(sub=user))
        member = await ann.enter(self.room("hall"))
        await self.backend("unsubscribe", user=user, channel=self.room("hall"))
        await until(lambda: member.left, "the goodbye")
        await self.backend("refresh", user=user, expired=False, expire_at=int(time.time()) + 3600)
        await self.backend("disconnect", user=user)
        await until(lambda: ann.disconnected, "the end")
        self.assertEqual(ann.disconnected[0].code, 3503)


def load_tests(loader: unittest.TestLoader, *_: Any) -> unittest.TestSuite:
    return on_every_encoding(loader, Tokens)
