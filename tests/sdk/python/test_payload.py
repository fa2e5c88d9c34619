"""Payloads at Protobuf that are no JSON."""

import unittest
from base64 import b64encode

from centrifuge import SubscriptionEventHandler

from people import Person, until
from server import Server


class Heard(SubscriptionEventHandler):
    def __init__(self) -> None:
        self.payloads: list = []

    async def on_publication(self, ctx) -> None:
        self.payloads.append(ctx.pub.data)


class Payloads(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    async def listen(self, name: str, is_protobuf: bool) -> tuple[Person, Heard]:
        person, heard = Person(self.server.url, name, is_protobuf), Heard()
        self.addAsyncCleanup(person.leave)
        await person.connect()
        subscription = person.client.new_subscription("bytes", events=heard)
        await subscription.subscribe()
        await subscription.ready()
        return person, heard

    async def test_bytes_arrive_byte_for_byte_at_protobuf_and_as_text_at_json(self) -> None:
        ann, bytes_heard = await self.listen("Ann", is_protobuf=True)
        bob, values_heard = await self.listen("Bob", is_protobuf=False)
        payloads = [bytes(range(256)), b"hello", b'{"a" :\n 1}', b"\xff\x00"]
        for payload in payloads:
            await ann.client.publish("bytes", payload)
        await bob.client.publish("bytes", {"b": [1]})
        await until(lambda: len(bytes_heard.payloads) == len(values_heard.payloads) == 5, "everything")
        self.assertEqual(bytes_heard.payloads, [*payloads, b'{"b":[1]}'])
        texts = [b64encode(payload).decode() for payload in payloads]
        self.assertEqual(values_heard.payloads, [texts[0], texts[1], {"a": 1}, texts[3], {"b": [1]}])
