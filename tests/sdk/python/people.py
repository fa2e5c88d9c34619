"""People at the SDK: clients that note everything they are told."""

import asyncio
import time
import unittest
from typing import Any, Callable, Optional

from centrifuge import CentrifugeError, Client, ClientEventHandler, Subscription, SubscriptionEventHandler

from server import Server

# How long anything may take before a test gives up.
PATIENCE_S = 15.0
STEP_S = 0.005


async def until(check: Callable[[], Any], what: str) -> Any:
    """Waits as long as it takes, up to a limit, for the first truthy result of `check`."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S} s in vain for {what}")
        await asyncio.sleep(STEP_S)
    return result


class Person(ClientEventHandler):
    """Somebody with a connection."""

    def __init__(self, url: str, name: str, **options: Any) -> None:
        self.connected: list[Any] = []
        self.connecting: list[Any] = []
        self.disconnected: list[Any] = []
        self.errors: list[Any] = []
        self.client = Client(
            url,
            events=self,
            data={"name": name},
            min_reconnect_delay=0.01,
            max_reconnect_delay=0.1,
            # Whatever the environment says: the server is on this machine.
            proxy=None,
            **options,
        )

    @property
    def id(self) -> str:
        """The id of the connection."""
        return self.connected[-1].client

    async def connect(self) -> None:
        await self.client.connect()
        await self.client.ready()

    def member(self, room: str, **options: Any) -> "Member":
        """Prepares a subscription without subscribing."""
        return Member(self.client, room, **options)

    async def enter(self, room: str, **options: Any) -> "Member":
        member = self.member(room, **options)
        await member.subscription.subscribe()
        await member.subscription.ready()
        # `ready` comes before the event.
        await until(lambda: member.entered, "the event")
        return member

    async def publish_numbers(self, room: str, count: int, first: int = 0) -> None:
        """Publishes `first`, `first` + 1, … in order, many under way at a time."""
        window = 50
        for start in range(first, first + count, window):
            numbers = range(start, min(start + window, first + count))
            await asyncio.gather(*(self.client.publish(room, number) for number in numbers))

    def cut(self) -> None:
        """Loses the connection without a word, as in a tunnel."""
        self.client._conn.transport.abort()

    async def on_connected(self, ctx: Any) -> None:
        self.connected.append(ctx)

    async def on_connecting(self, ctx: Any) -> None:
        self.connecting.append(ctx)

    async def on_disconnected(self, ctx: Any) -> None:
        self.disconnected.append(ctx)

    async def on_error(self, ctx: Any) -> None:
        self.errors.append(ctx)


class Member(SubscriptionEventHandler):
    """A person in one room."""

    def __init__(self, client: Client, room: str, **options: Any) -> None:
        self.publications: list[Any] = []
        self.joins: list[Any] = []
        self.leaves: list[Any] = []
        self.entered: list[Any] = []
        self.left: list[Any] = []
        self.errors: list[Any] = []
        self.subscription: Subscription = client.new_subscription(
            room, events=self, min_resubscribe_delay=0.01, max_resubscribe_delay=0.1, **options
        )

    @property
    def data(self) -> list[Any]:
        return [publication.data for publication in self.publications]

    @property
    def offsets(self) -> list[int]:
        return [publication.offset for publication in self.publications]

    async def heard(self, count: int) -> None:
        """Waits until this many publications have come in all."""
        await until(lambda: len(self.publications) >= count, f"{count} publications")

    async def on_publication(self, ctx: Any) -> None:
        self.publications.append(ctx.pub)

    async def on_join(self, ctx: Any) -> None:
        self.joins.append(ctx.info)

    async def on_leave(self, ctx: Any) -> None:
        self.leaves.append(ctx.info)

    async def on_subscribed(self, ctx: Any) -> None:
        self.entered.append(ctx)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self.left.append(ctx)

    async def on_error(self, ctx: Any) -> None:
        self.errors.append(ctx)


class Case(unittest.IsolatedAsyncioTestCase):
    """Tests of one file, on one server of their own with the file's configuration."""

    config = ""
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(cls.config)
        cls.addClassCleanup(cls.server.stop)

    def person(self, name: str, server: Optional[Server] = None, **options: Any) -> Person:
        """Somebody who has not connected yet, and who leaves at the end of the test."""
        person = Person((server or self.server).url, name, **options)
        self.addAsyncCleanup(person.client.disconnect)
        return person

    async def connect(self, name: str, server: Optional[Server] = None, **options: Any) -> Person:
        person = self.person(name, server, **options)
        await person.connect()
        return person

    async def refused(self, code: int, call: Any) -> None:
        """Holds that the awaitable ends in this error of the server."""
        with self.assertRaises(CentrifugeError) as caught:
            await call
        self.assertEqual(getattr(caught.exception, "code", None), code, caught.exception)
