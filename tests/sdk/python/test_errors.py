"""What clients are refused, and by which number. The connection goes on after each."""

from people import Case, Person, until


class Errors(Case):
    config = """
[client]
channel_limit = 3

[[channel.namespaces]]
name = "read"
allow_publish_for_client = false
allow_publish_for_subscriber = false

[[channel.namespaces]]
name = "closed"
allow_subscribe_for_client = false
allow_subscribe_for_anonymous = false

[[channel.namespaces]]
name = "bare"
history_size = 0
presence = false
join_leave = false
"""

    async def asyncSetUp(self) -> None:
        self.ann: Person = await self.connect("Ann")

    async def asyncTearDown(self) -> None:
        await self.ann.client.publish("hall", "still here")
        self.assertEqual(len(self.ann.connected), 1)

    async def refusal(self, room: str) -> int:
        member = self.ann.member(room)
        await member.subscription.subscribe()
        await until(lambda: member.left, "the refusal")
        self.ann.client.remove_subscription(member.subscription)
        return member.left[0].code

    async def test_a_call_to_a_method_is_not_available(self) -> None:
        await self.refused(108, self.ann.client.rpc("anything", {}))

    async def test_a_room_of_a_namespace_that_nobody_declared_is_unknown(self) -> None:
        client = self.ann.client
        self.assertEqual(await self.refusal("nowhere:1"), 102)
        await self.refused(102, client.publish("nowhere:1", 1))
        await self.refused(102, client.history("nowhere:1", limit=1))
        await self.refused(102, client.presence("nowhere:1"))
        await self.refused(102, client.presence_stats("nowhere:1"))

    async def test_what_the_namespace_does_not_permit_is_denied(self) -> None:
        self.assertEqual(await self.refusal("closed:1"), 103)
        member = await self.ann.enter("read:1")
        await self.refused(103, member.subscription.publish(1))
        self.assertEqual((await member.subscription.history(limit=0)).offset, 0)

    async def test_one_room_too_many_exceeds_the_limit_until_another_is_left(self) -> None:
        members = [await self.ann.enter(room) for room in ["a", "b", "c"]]
        self.assertEqual(await self.refusal("d"), 106)
        await members[0].subscription.unsubscribe()
        await self.ann.enter("d")

    async def test_a_name_that_is_none_is_a_bad_request(self) -> None:
        for room in ["x" * 256, "ž" * 128, "bell\a", "line\nline"]:
            self.assertEqual(await self.refusal(room), 107, room)
            await self.refused(107, self.ann.client.publish(room, 1))
        await self.ann.enter("x" * 255)

    async def test_what_a_namespace_does_not_keep_is_not_available(self) -> None:
        member = await self.ann.enter("bare:1")
        self.assertFalse(member.entered[0].recoverable or member.entered[0].positioned)
        await self.refused(108, member.subscription.history(limit=1))
        await self.refused(108, member.subscription.presence())
        await self.refused(108, member.subscription.presence_stats())
        await member.subscription.publish("live")
        await member.heard(1)
        self.assertEqual(member.data, ["live"])
