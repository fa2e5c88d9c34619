"""The past of a room by the Python SDK: coming back to it, and reading it."""

from centrifuge import StreamPosition

from people import Member, Person, ServedCase, on_every_encoding, until


class Recovery(ServedCase):
    # Who publishes 3,000 at once waits for the disk, however busy the machine: what is tested is recovery.
    config = """
[storage]
overload = "wait"

[client]
recovery_max_publication_limit = 3500

[channel.without_namespace]
history_size = 4000

[[channel.namespaces]]
name = "short"
history_size = 10
"""

    async def pair(self, room: str) -> tuple[Person, Person, Member]:
        """Ann, who speaks, and Bob, who is in the room and goes away."""
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        return ann, bob, await bob.enter(room)

    async def reconnect(self, person: Person, member: Member):
        entered = len(member.entered)
        await person.connect()
        await until(lambda: len(member.entered) > entered, "the room")
        return member.entered[-1]

    async def test_who_was_disconnected_while_hundreds_were_published_misses_none(self) -> None:
        ann, bob, member = await self.pair("away")
        await ann.publish_numbers("away", 50)
        await member.heard(50)
        await bob.leave()
        await ann.publish_numbers("away", 500, 50)
        context = await self.reconnect(bob, member)
        self.assertTrue(context.was_recovering)
        self.assertTrue(context.recovered)
        await ann.publish_numbers("away", 50, 550)
        await member.heard(600)
        self.assertEqual(member.data, list(range(600)))
        self.assertEqual(member.offsets, list(range(1, 601)))

    async def test_whose_connection_is_cut_again_and_again_under_a_flood_misses_nothing(self) -> None:
        ann, bob, member = await self.pair("flood")
        for cut in range(6):
            await ann.publish_numbers("flood", 200, cut * 400)
            await until(lambda: len(member.publications) > cut * 400, "something")
            entered = len(member.entered)
            bob.cut()
            await ann.publish_numbers("flood", 200, cut * 400 + 200)
            await until(lambda: len(member.entered) > entered, "the return")
        await member.heard(2400)
        self.assertEqual(member.data, list(range(2400)))
        self.assertEqual(member.offsets, list(range(1, 2401)))
        self.assertTrue(all(context.recovered for context in member.entered[1:]))

    async def test_who_left_the_room_and_enters_again_misses_nothing(self) -> None:
        ann, _, member = await self.pair("out")
        for turn in range(4):
            await member.subscription.unsubscribe()
            await ann.publish_numbers("out", 100, turn * 100)
            await member.subscription.subscribe()
            await member.subscription.ready()
            await member.heard((turn + 1) * 100)
            self.assertTrue(member.entered[-1].recovered)
            # What is saved now loses nothing: the position that was asked for.
            self.assertEqual(member.entered[-1].stream_position.offset, turn * 100)
        self.assertEqual(member.data, list(range(400)))

    async def test_who_missed_more_than_the_history_holds_is_told_and_goes_on_from_now(self) -> None:
        ann, bob, member = await self.pair("short:1")
        await bob.leave()
        await ann.publish_numbers("short:1", 10)
        self.assertTrue((await self.reconnect(bob, member)).recovered)
        await member.heard(10)
        await bob.leave()
        await ann.publish_numbers("short:1", 3000, 10)
        context = await self.reconnect(bob, member)
        self.assertTrue(context.was_recovering)
        self.assertFalse(context.recovered)
        self.assertEqual(context.stream_position.offset, 3010)
        await ann.publish("short:1", "live")
        await member.heard(11)
        self.assertEqual(member.data, [*range(10), "live"])

    async def test_a_client_that_loads_its_own_state_is_asked_again_when_its_position_is_lost(self) -> None:
        ann, bob = await self.connect("Ann"), await self.connect("Bob")
        await ann.publish_numbers("short:2", 20)
        loads = 0

        async def state(room: str) -> StreamPosition:
            nonlocal loads
            loads += 1
            top = await ann.history(room, limit=0)
            # The first state is as old as states get that lie in a cache.
            return StreamPosition(2 if loads == 1 else top.offset - 3, top.epoch)

        member = await bob.enter("short:2", get_state=state)
        await member.heard(3)
        self.assertEqual(loads, 2)
        self.assertEqual(member.entered[0].stream_position.offset, 17)
        self.assertEqual(member.offsets, [18, 19, 20])

    async def test_a_position_of_another_life_or_of_the_future_is_refused_to_who_would_rather_know(self) -> None:
        ann, _, member = await self.pair("short:3")
        await ann.publish_numbers("short:3", 5)
        epoch = member.entered[0].stream_position.epoch
        for lost in [StreamPosition(2, "another"), StreamPosition(6, epoch)]:
            eve = await self.connect("Eve")
            positions = [lost, StreamPosition(4, epoch)]

            async def state(_room: str) -> StreamPosition:
                return positions.pop(0)

            visit = await eve.enter("short:3", get_state=state)
            await visit.heard(1)
            self.assertEqual((positions, visit.offsets), ([], [5]))


class History(ServedCase):
    config = """
[client]
history_max_publication_limit = 100
"""

    async def test_the_history_is_read_from_either_end_and_from_anywhere(self) -> None:
        ann = await self.connect("Ann")
        member = await ann.enter("window")
        await ann.publish_numbers("window", 20)
        epoch = member.entered[0].stream_position.epoch

        async def offsets(**options) -> list[int]:
            history = await member.history(**options)
            self.assertEqual((history.offset, history.epoch), (20, epoch))
            return [publication.offset for publication in history.publications]

        five = StreamPosition(5, epoch)
        self.assertEqual(await offsets(limit=0), [])
        self.assertEqual(await offsets(limit=3), [1, 2, 3])
        self.assertEqual(await offsets(limit=3, reverse=True), [20, 19, 18])
        self.assertEqual(await offsets(limit=3, since=five), [6, 7, 8])
        self.assertEqual(await offsets(limit=3, since=five, reverse=True), [4, 3, 2])
        self.assertEqual(await offsets(limit=-1, since=StreamPosition(18, epoch)), [19, 20])
        self.assertEqual(await offsets(limit=-1), list(range(1, 21)))
        await self.refused(112, member.history(limit=1, since=StreamPosition(1, "another")))

    async def test_a_reply_holds_what_the_limit_says_with_data_and_author(self) -> None:
        ann = await self.connect("Ann")
        await ann.publish_numbers("past", 150)
        history = await ann.history("past", limit=-1)
        self.assertEqual([publication.data for publication in history.publications], list(range(100)))
        self.assertEqual({publication.info.conn_info["name"] for publication in history.publications}, {"Ann"})
        self.assertEqual(history.offset, 150)


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, Recovery, History)
