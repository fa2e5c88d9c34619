"""Connections by the Python SDK: coming, staying, going, and a server that goes."""

import asyncio

from centrifuge import CentrifugeError, ClientState, StreamPosition

from people import Case, ServedCase, on_every_encoding, until
from server import Server


class Connections(ServedCase):
    config = """
[websocket]
message_size_limit = 4096
"""

    async def test_a_client_connects_and_disconnects_many_times(self) -> None:
        ann = self.person("Ann")
        for _ in range(30):
            await ann.connect()
            await ann.leave()
        self.assertEqual(len({context.client for context in ann.connected}), 30)
        self.assertEqual(len(ann.disconnected), 30)
        self.assertEqual(ann.errors, [])

    async def test_many_clients_connect_at_once(self) -> None:
        people = await asyncio.gather(*(self.connect(f"n{n}") for n in range(40)))
        self.assertEqual(len({person.id for person in people}), 40)

    async def test_a_message_over_the_limit_ends_the_connection(self) -> None:
        ann = await self.connect("Ann")
        member = await ann.enter("large")
        await ann.publish("large", "x" * 4000)
        await member.heard(1)
        with self.assertRaises(CentrifugeError):
            await ann.publish("large", "x" * 5000)
        await until(lambda: len(ann.connecting) == 2, "the loss")
        # The SDK's name for 1009.
        self.assertEqual(ann.connecting[1].code, 3)
        await until(lambda: len(member.entered) == 2, "the room again")
        self.assertEqual(member.data, ["x" * 4000])


class Pings(ServedCase):
    """The heartbeat, on a server that asks often."""

    config = """
[client]
ping_interval = "3s"
pong_timeout = "2900ms"
"""

    async def test_an_idle_client_answers_pings_and_stays(self) -> None:
        ann = await self.connect("Ann")
        pings = 0
        handle_ping = ann.client._handle_ping

        async def count() -> None:
            nonlocal pings
            pings += 1
            await handle_ping()

        ann.client._handle_ping = count  # type: ignore[method-assign]
        await until(lambda: pings >= 2, "pings")
        await ann.publish("hall", "still here")
        self.assertEqual(len(ann.connected), 1)

    async def test_a_client_that_does_not_answer_pings_is_closed_and_comes_back(self) -> None:
        ann = await self.connect("Ann")
        member = await ann.enter("mute")
        ann.client._send_pong = False
        await until(lambda: len(member.entered) == 2, "the room again")
        self.assertEqual([context.code for context in ann.connecting][1:], [3012])
        self.assertTrue(member.entered[1].recovered)


class Restarts(Case):
    """A server that goes, and the next one on the same port."""

    async def arrive(self, server: Server):
        ann = await self.connect("Ann", server)
        member = await ann.enter("hall")
        await ann.publish_numbers("hall", 5)
        await member.heard(5)
        return ann, member

    async def assert_new_life(self, ann, member) -> None:
        await until(lambda: len(member.entered) == 2, "the room on the next server")
        before, after = member.entered
        self.assertTrue(after.was_recovering)
        self.assertFalse(after.recovered)
        self.assertEqual(after.stream_position, StreamPosition(0, after.stream_position.epoch))
        self.assertNotEqual(after.stream_position.epoch, before.stream_position.epoch)
        await ann.publish_numbers("hall", 5, 5)
        await member.heard(10)
        self.assertEqual(member.data, list(range(10)))
        self.assertEqual(member.offsets, [1, 2, 3, 4, 5] * 2)

    async def test_clients_of_a_server_that_drains_move_to_the_next_one(self) -> None:
        first = Server()
        ann, member = await self.arrive(first)
        await asyncio.to_thread(first.stop)
        await until(lambda: len(ann.connecting) == 2, "the news")
        self.assertEqual((ann.connecting[1].code, ann.connecting[1].reason), (3001, "shutdown"))
        self.assertEqual(ann.disconnected, [])
        second = Server(port=first.port)
        # On a thread of its own: the client has to take part in the end of its connection.
        self.addAsyncCleanup(asyncio.to_thread, second.stop)
        await self.assert_new_life(ann, member)

    async def test_clients_of_a_server_that_crashed_find_the_next_one(self) -> None:
        first = Server()
        ann, member = await self.arrive(first)
        await asyncio.to_thread(first.crash)
        await until(lambda: len(ann.errors) >= 3, "some attempts in vain")
        self.assertEqual(ann.client.state, ClientState.CONNECTING)
        second = Server(port=first.port)
        self.addAsyncCleanup(asyncio.to_thread, second.stop)
        await self.assert_new_life(ann, member)


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, Connections, Pings, Restarts)
