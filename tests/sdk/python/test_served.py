"""What the server decides about rooms: whom it puts into them, and what of them it recovers."""

from centrifuge import StreamPosition

from people import Case, Person, ServedCase, on_every_encoding, until
from server import Server

SERVED = """
[client]
subscribe_on_connect = ["news", "short:1"]

[[channel.namespaces]]
name = "short"
history_size = 10
"""


def entered(person: Person, room: str) -> list:
    return [context for context in person.served if context.channel == room]


def heard(person: Person, room: str) -> list:
    return [publication.data for channel, publication in person.served_publications if channel == room]


class PutIn(ServedCase):
    """Rooms that every client is in from its connecting on."""

    config = SERVED

    async def reconnect(self, person: Person) -> None:
        count = len(person.served)
        await person.connect()
        await until(lambda: len(person.served) == count + 2, "the rooms")

    async def test_whoever_connects_is_in_them_and_is_told(self) -> None:
        ann = await self.connect("Ann")
        await until(lambda: len(ann.served) == 2, "the rooms")
        self.assertEqual({context.channel for context in ann.served}, {"news", "short:1"})
        self.assertTrue(all(context.recoverable and not context.was_recovering for context in ann.served))
        self.assertIn(ann.id, await ann.presence("news"))

    async def test_who_comes_back_has_missed_nothing_or_is_told(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        for room in ["news", "short:1"]:
            await bob.publish_numbers(room, 3)
        await until(lambda: len(ann.served_publications) == 6, "what is said in both")
        await ann.leave()
        for room in ["news", "short:1"]:
            await bob.publish_numbers(room, 100, 3)
        await self.reconnect(ann)
        await bob.publish("news", "live")
        await bob.publish("short:1", "live")
        await until(lambda: "live" in heard(ann, "news") and "live" in heard(ann, "short:1"), "what is said now")
        self.assertEqual(heard(ann, "news"), [*range(103), "live"])
        self.assertEqual(heard(ann, "short:1"), [0, 1, 2, "live"])
        returns = [entered(ann, room)[1] for room in ["news", "short:1"]]
        self.assertEqual([(each.was_recovering, each.recovered) for each in returns], [(True, True), (True, False)])


class NextLife(Case):
    async def test_after_a_restart_of_the_server_their_new_life_is_told(self) -> None:
        first = Server(SERVED)
        ann = await self.connect("Ann", first)
        await until(lambda: len(ann.served) == 2, "the rooms")
        first.crash()
        second = Server(SERVED, port=first.port)
        self.addCleanup(second.stop)
        await until(lambda: len(ann.served) == 4, "the rooms on the next server")
        before, after = entered(ann, "news")
        self.assertEqual((after.was_recovering, after.recovered), (True, False))
        self.assertNotEqual(after.stream_position.epoch, before.stream_position.epoch)
        await ann.publish("news", "new")
        await until(lambda: heard(ann, "news") == ["new"], "the news")


class Cache(ServedCase):
    """Rooms of which only the newest message counts."""

    config = """
[[channel.namespaces]]
name = "price"
force_recovery_mode = "cache"
history_size = 10
"""

    async def test_who_comes_back_gets_the_newest_alone(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        member = await bob.enter("price:1")
        await ann.publish_numbers("price:1", 3)
        await member.heard(3)
        await bob.leave()
        await ann.publish_numbers("price:1", 100, 3)
        await bob.connect()
        await member.heard(4)
        self.assertTrue(member.entered[1].recovered)
        await bob.leave()
        await bob.connect()
        await until(lambda: len(member.entered) == 3, "the room")
        self.assertTrue(member.entered[2].recovered)
        await ann.publish("price:1", 103)
        await member.heard(5)
        self.assertEqual(member.data, [0, 1, 2, 102, 103])
        self.assertEqual(member.offsets, [1, 2, 3, 103, 104])

    async def test_who_loads_the_state_elsewhere_gets_the_newest_after_it(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        await ann.publish_numbers("price:2", 20)

        async def state(_room: str) -> StreamPosition:
            return StreamPosition(2, (await ann.history("price:2", limit=0)).epoch)

        member = await bob.enter("price:2", get_state=state)
        await member.heard(1)
        self.assertEqual((member.data, member.offsets), ([19], [20]))


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, PutIn, NextLife, Cache)
