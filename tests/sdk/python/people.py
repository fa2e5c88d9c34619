"""People at the SDK: clients that note everything they are told.

Messages are JSON for all of them; where the SDK takes and gives bytes, they are encoded and decoded here.
"""

import asyncio
import inspect
import json
import time
import unittest
from dataclasses import replace
from typing import Any, Callable, Optional

from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    ClientInfo,
    HistoryResult,
    Publication,
    Subscription,
    SubscriptionEventHandler,
)

from server import Server

# How long anything may take before a test gives up.
PATIENCE_S = 60.0
STEP_S = 0.005


async def until(check: Callable[[], Any], what: str) -> Any:
    """Waits as long as it takes, up to a limit, for the first truthy result of `check`, which may be a coroutine."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := await settled(check())):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S} s in vain for {what}")
        await asyncio.sleep(STEP_S)
    return result


async def settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


class Payload:
    """What the application and its SDK hand each other: values in JSON, bytes in Protobuf."""

    def __init__(self, is_protobuf: bool) -> None:
        self.is_protobuf = is_protobuf

    def encode(self, value: Any) -> Any:
        return json.dumps(value).encode() if self.is_protobuf else value

    def decode(self, payload: Any) -> Any:
        return json.loads(payload) if self.is_protobuf and payload is not None else payload

    def read_info(self, info: Optional[ClientInfo]) -> Optional[ClientInfo]:
        return info and replace(info, conn_info=self.decode(info.conn_info))

    def read(self, publication: Publication) -> Publication:
        return replace(publication, data=self.decode(publication.data), info=self.read_info(publication.info))

    def read_history(self, history: HistoryResult) -> HistoryResult:
        return replace(history, publications=[self.read(publication) for publication in history.publications])

    def read_presence(self, clients: dict[str, ClientInfo]) -> dict[str, Optional[ClientInfo]]:
        return {id: self.read_info(info) for id, info in clients.items()}


class Person(ClientEventHandler):
    """Somebody with a connection."""

    def __init__(self, url: str, name: str, is_protobuf: bool, **options: Any) -> None:
        self.connected: list[Any] = []
        self.connecting: list[Any] = []
        self.disconnected: list[Any] = []
        self.errors: list[Any] = []
        # Rooms that the server put this person into.
        self.served: list[Any] = []
        self.served_publications: list[tuple[str, Publication]] = []
        self._payload = Payload(is_protobuf)
        self.client = Client(
            url,
            events=self,
            use_protobuf=is_protobuf,
            data=self._payload.encode({"name": name}),
            min_reconnect_delay=0.01,
            max_reconnect_delay=0.1,
            # An answer that takes its time is no lost connection.
            timeout=PATIENCE_S,
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

    async def leave(self) -> None:
        """Disconnects, and waits for the end of the connection, which the SDK leaves to the background."""
        connection = self.client._conn
        await self.client.disconnect()
        if connection is not None:
            await connection.wait_closed()

    def member(self, room: str, **options: Any) -> "Member":
        """Prepares a subscription without subscribing."""
        return Member(self.client, self._payload, room, **options)

    async def enter(self, room: str, **options: Any) -> "Member":
        member = self.member(room, **options)
        await member.subscription.subscribe()
        await member.subscription.ready()
        # `ready` comes before the event.
        await until(lambda: member.entered, "the event")
        return member

    async def publish(self, room: str, data: Any) -> None:
        await self.client.publish(room, self._payload.encode(data))

    async def history(self, room: str, **options: Any) -> HistoryResult:
        return self._payload.read_history(await self.client.history(room, **options))

    async def presence(self, room: str) -> dict[str, Optional[ClientInfo]]:
        return self._payload.read_presence((await self.client.presence(room)).clients)

    async def rpc(self, method: str, data: Any) -> Any:
        return self._payload.decode((await self.client.rpc(method, self._payload.encode(data))).data)

    async def publish_numbers(self, room: str, count: int, first: int = 0) -> None:
        """Publishes `first`, `first` + 1, … in order, many under way at a time."""
        window = 50
        for start in range(first, first + count, window):
            numbers = range(start, min(start + window, first + count))
            await asyncio.gather(*(self.publish(room, number) for number in numbers))

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

    async def on_subscribed(self, ctx: Any) -> None:
        self.served.append(ctx)

    async def on_publication(self, ctx: Any) -> None:
        self.served_publications.append((ctx.channel, self._payload.read(ctx.pub)))


class Member(SubscriptionEventHandler):
    """A person in one room."""

    def __init__(self, client: Client, payload: Payload, room: str, **options: Any) -> None:
        self.publications: list[Any] = []
        self.joins: list[Any] = []
        self.leaves: list[Any] = []
        self.entered: list[Any] = []
        self.left: list[Any] = []
        self.errors: list[Any] = []
        self._payload = payload
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

    async def publish(self, data: Any) -> None:
        await self.subscription.publish(self._payload.encode(data))

    async def history(self, **options: Any) -> HistoryResult:
        return self._payload.read_history(await self.subscription.history(**options))

    async def presence(self) -> dict[str, Optional[ClientInfo]]:
        return self._payload.read_presence((await self.subscription.presence()).clients)

    async def on_publication(self, ctx: Any) -> None:
        self.publications.append(self._payload.read(ctx.pub))

    async def on_join(self, ctx: Any) -> None:
        self.joins.append(self._payload.read_info(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self.leaves.append(self._payload.read_info(ctx.info))

    async def on_subscribed(self, ctx: Any) -> None:
        self.entered.append(ctx)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self.left.append(ctx)

    async def on_error(self, ctx: Any) -> None:
        self.errors.append(ctx)


class Case(unittest.IsolatedAsyncioTestCase):
    """Tests that run once for each encoding."""

    is_protobuf: bool

    async def asyncSetUp(self) -> None:
        # unittest turns it on; a stack for each task costs several times what the tests do.
        asyncio.get_running_loop().set_debug(False)

    def person(self, name: str, server: Server, **options: Any) -> Person:
        """Somebody who has not connected yet, and who leaves at the end of the test."""
        person = Person(server.url, name, self.is_protobuf, **options)
        self.addAsyncCleanup(person.leave)
        return person

    async def connect(self, name: str, server: Server, **options: Any) -> Person:
        person = self.person(name, server, **options)
        await person.connect()
        return person

    async def refused(self, code: int, call: Any) -> None:
        """Holds that the awaitable ends in this error of the server."""
        with self.assertRaises(CentrifugeError) as caught:
            await call
        self.assertEqual(getattr(caught.exception, "code", None), code, caught.exception)


class ServedCase(Case):
    """Tests on one server of their own with this configuration."""

    config = ""
    is_dev = True
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(cls.config, is_dev=cls.is_dev)
        cls.addClassCleanup(cls.server.stop)

    def person(self, name: str, server: Optional[Server] = None, **options: Any) -> Person:
        return super().person(name, server or self.server, **options)

    async def connect(self, name: str, server: Optional[Server] = None, **options: Any) -> Person:
        return await super().connect(name, server or self.server, **options)


def on_every_encoding(loader: unittest.TestLoader, *cases: type[Case]) -> unittest.TestSuite:
    """What a file's `load_tests` returns: its cases, once for JSON and once for Protobuf."""
    suite = unittest.TestSuite()
    for case in cases:
        for encoding in ["Json", "Protobuf"]:
            members = {"is_protobuf": encoding == "Protobuf", "__module__": case.__module__}
            suite.addTest(loader.loadTestsFromTestCase(type(case.__name__ + encoding, (case,), members)))
    return suite
