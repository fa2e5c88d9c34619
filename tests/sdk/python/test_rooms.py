"""Life in rooms by the Python SDK: coming and going, publishing, hearing, seeing who is there."""

import asyncio

from centrifuge import ClientInfo

from people import ServedCase, on_every_encoding, until


class Rooms(ServedCase):
    async def test_everybody_hears_everybody_in_one_order_and_with_the_author(self) -> None:
        names = ["Ann", "Bob", "Cem"]
        people = [await self.connect(name) for name in names]
        members = [await person.enter("order") for person in people]

        async def speak(author: int) -> None:
            for number in range(50):
                await people[author].publish("order", {"author": author, "n": number})

        await asyncio.gather(*(speak(author) for author in range(3)))
        for member in members:
            await member.heard(150)
            self.assertEqual(member.offsets, list(range(1, 151)))
            self.assertEqual(member.data, members[0].data)
            for publication in member.publications:
                author = publication.data["author"]
                info = ClientInfo(people[author].id, "", {"name": names[author]}, None)
                self.assertEqual(publication.info, info)
        for author in range(3):
            numbers = [data["n"] for data in members[0].data if data["author"] == author]
            self.assertEqual(numbers, list(range(50)))

    async def test_a_message_arrives_as_it_was_sent(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        member = await bob.enter("json")
        messages = [None, False, 0, -1.5e-7, 2**63, "", "line\nline\r\u2028\0", "ž 日本 🦀", [], {}, {"a": [{"": None}]}]
        for message in messages:
            await ann.publish("json", message)
        await member.heard(len(messages))
        self.assertEqual(member.data, messages)

    async def test_a_client_may_be_in_as_many_rooms_as_the_limit_says(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        members = [await ann.enter(f"many {n}") for n in range(128)]
        for n in range(128):
            await bob.publish(f"many {n}", n)
        for n, member in enumerate(members):
            await member.heard(1)
            self.assertEqual((member.data, member.offsets), ([n], [1]))

    async def test_entering_and_leaving_many_times_misses_nothing_said_meanwhile(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        for number in range(40):
            member = await bob.enter("loop")
            await ann.publish("loop", number)
            await member.heard(1)
            await member.subscription.unsubscribe()
            bob.client.remove_subscription(member.subscription)
            await ann.publish("loop", "nobody hears this")
            self.assertEqual(member.data, [number])
        stats = await bob.client.presence_stats("loop")
        self.assertEqual((stats.num_clients, stats.num_users), (0, 0))

    async def test_leaving_right_after_connecting_leaves_nobody_behind(self) -> None:
        for number in range(10):
            ann = self.person("Ann")
            member = ann.member("brief")
            await member.subscription.subscribe()
            await ann.client.connect()
            await member.subscription.unsubscribe()
            await ann.client.ready()
            self.assertEqual((await ann.client.presence_stats("brief")).num_clients, 0, number)
            stay = await ann.enter("stay")
            await stay.publish(number)
            await until(lambda: number in stay.data, "the own message")
            await ann.leave()

    async def test_presence_shows_who_is_in_the_room(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        here, there = await ann.enter("seen"), await bob.enter("seen")
        clients = await here.presence()
        self.assertEqual(
            clients,
            {person.id: ClientInfo(person.id, "", {"name": name}, None) for person, name in [(ann, "Ann"), (bob, "Bob")]},
        )
        stats = await here.subscription.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (2, 1))
        await there.subscription.unsubscribe()
        # Bob's own question comes behind his leaving.
        self.assertEqual(list(await bob.presence("seen")), [ann.id])

    async def test_members_see_others_come_and_go(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        member = await ann.enter("doors")
        visit = await bob.enter("doors")

        def others(infos: list) -> list:
            return [info.client for info in infos if info.client != ann.id]

        await until(lambda: others(member.joins), "the join")
        self.assertEqual(member.joins[-1], ClientInfo(bob.id, "", {"name": "Bob"}, None))
        await visit.subscription.unsubscribe()
        await until(lambda: others(member.leaves), "the leave")
        await visit.subscription.subscribe()
        await until(lambda: len(others(member.joins)) == 2, "the second join")
        lost = bob.id
        bob.cut()
        await until(lambda: len(others(member.joins)) == 3, "the return")
        await until(lambda: len(others(member.leaves)) == 2, "the loss")
        # Ann may hear of him before he hears who he is.
        await until(lambda: bob.id != lost, "Bob's new id")
        self.assertEqual(others(member.leaves), [lost, lost])
        self.assertEqual(others(member.joins), [lost, lost, bob.id])


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, Rooms)
