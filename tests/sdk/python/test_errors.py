"""What clients are refused, and by which number. The connection goes on after each."""

from people import Person, ServedCase, on_every_encoding, until


class Errors(ServedCase):
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
        await super().asyncSetUp()
        self.ann: Person = await self.connect("Ann")

    async def asyncTearDown(self) -> None:
        await self.ann.publish("hall", "still here")
        self.assertEqual(len(self.ann.connected), 1)

    async def refusal(self, room: str) -> int:
        member = self.ann.member(room)
        await member.subscription.subscribe()
        await until(lambda: member.left, "the refusal")
        self.ann.client.remove_subscription(member.subscription)
        return member.left[0].code

    async def test_a_call_where_there_is_no_backend_is_not_available(self) -> None:
        await self.refused(108, self.ann.rpc("anything", {}))

    async def test_a_room_of_a_namespace_that_nobody_declared_is_unknown(self) -> None:
        ann = self.ann
        self.assertEqual(await self.refusal("nowhere:1"), 102)
        await self.refused(102, ann.publish("nowhere:1", 1))
        await self.refused(102, ann.history("nowhere:1", limit=1))
        await self.refused(102, ann.presence("nowhere:1"))
        await self.refused(102, ann.client.presence_stats("nowhere:1"))

    async def test_what_the_namespace_does_not_permit_is_denied(self) -> None:
        self.assertEqual(await self.refusal("closed:1"), 103)
        member = await self.ann.enter("read:1")
        await self.refused(103, member.publish(1))
        self.assertEqual((await member.history(limit=0)).offset, 0)

    async def test_one_room_too_many_exceeds_the_limit_until_another_is_left(self) -> None:
        members = [await self.ann.enter(room) for room in ["a", "b", "c"]]
        self.assertEqual(await self.refusal("d"), 106)
        await members[0].subscription.unsubscribe()
        await self.ann.enter("d")

    async def test_a_name_that_is_none_is_a_bad_request(self) -> None:
        for room in ["x" * 256, "ž" * 128, "bell\a", "line\nline"]:
            self.assertEqual(await self.refusal(room), 107, room)
            await self.refused(107, self.ann.publish(room, 1))
        await self.ann.enter("x" * 255)

    async def test_what_a_namespace_does_not_keep_is_not_available(self) -> None:
        member = await self.ann.enter("bare:1")
        self.assertFalse(member.entered[0].recoverable or member.entered[0].positioned)
        await self.refused(108, member.history(limit=1))
        await self.refused(108, member.presence())
        await self.refused(108, member.subscription.presence_stats())
        await member.publish("live")
        await member.heard(1)
        self.assertEqual(member.data, ["live"])


def load_tests(loader, _standard, _pattern):
    return on_every_encoding(loader, Errors)
