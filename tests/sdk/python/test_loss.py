"""Connections that are lost without a word: who notices, and who is in the room then."""

import asyncio
import signal
import subprocess
import sys

from people import Case, Person, ServedCase, on_every_encoding, until
from server import Server

CONFIG = """
[client]
ping_interval = "2500ms"
pong_timeout = "2400ms"
"""


class Clients(ServedCase):
    """Clients that end or sleep without a word, in a process of their own."""

    config = CONFIG

    def visitor(self, room: str) -> subprocess.Popen:
        """Somebody in the room, in a process of their own."""
        encoding = "protobuf" if self.is_protobuf else "json"
        process = subprocess.Popen([sys.executable, __file__, self.server.url, encoding, room])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    async def test_a_client_whose_process_is_killed_is_gone_from_the_room(self) -> None:
        ann = await self.connect("Ann")
        here = await ann.enter("killed")
        visitor = self.visitor("killed")
        await until(lambda: len(here.joins) == 2, "the visitor")
        visitor.kill()
        await until(lambda: here.leaves, "the leave")
        self.assertEqual([info.conn_info for info in here.leaves], [{"name": "visitor"}])
        self.assertEqual(list(await ann.presence("killed")), [ann.id])

    async def test_a_client_whose_machine_sleeps_is_taken_for_gone_and_comes_back(self) -> None:
        ann = await self.connect("Ann")
        here = await ann.enter("asleep")
        visitor = self.visitor("asleep")
        await until(lambda: len(here.joins) == 2, "the visitor")
        visitor.send_signal(signal.SIGSTOP)
        await until(lambda: here.leaves, "the leave")
        self.assertEqual(list(await ann.presence("asleep")), [ann.id])
        visitor.send_signal(signal.SIGCONT)
        await until(lambda: len(here.joins) == 3, "the return")
        self.assertNotEqual(here.joins[2].client, here.joins[1].client)
        self.assertEqual(set(await ann.presence("asleep")), {ann.id, here.joins[2].client})


class Servers(Case):
    async def test_a_server_that_falls_silent_is_noticed_and_nothing_is_missed(self) -> None:
        server = Server(CONFIG)
        # On a thread of its own: the client has to take part in the end of its connection.
        self.addAsyncCleanup(asyncio.to_thread, server.stop)
        ann = await self.connect("Ann", server, max_server_ping_delay=2.5)
        member = await ann.enter("silent")
        await ann.publish("silent", "before")
        server.pause()
        await until(lambda: len(ann.connecting) == 2, "the loss")
        server.resume()
        await until(lambda: len(member.entered) == 2, "the return")
        self.assertTrue(member.entered[1].recovered)
        await ann.publish("silent", "after")
        await member.heard(2)
        self.assertEqual(member.data, ["before", "after"])

        async def is_alone() -> bool:
            return list(await ann.presence("silent")) == [ann.id]

        await until(is_alone, "the server to notice by itself that the first connection is none any more")


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, Clients, Servers)


async def visit(url: str, encoding: str, room: str) -> None:
    visitor = Person(url, "visitor", encoding == "protobuf")
    await visitor.connect()
    await visitor.enter(room)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(visit(*sys.argv[1:]))
