"""The server API by `cent`, the client for backends, with clients of the SDK beside it."""

import unittest
from typing import Any

import cent

from people import PATIENCE_S, ServedCase, on_every_encoding, until
from server import Server

CONFIG = """
[http_api]
key = "secret"

[[channel.namespaces]]
name = "plain"
history_size = 0
presence = false
"""


class Backend(ServedCase):
    """What a backend asks of the server, and what clients are told of it."""

    config = CONFIG

    def backend(self, server: Server, key: str = "secret") -> cent.AsyncClient:
        backend = cent.AsyncClient(f"http://127.0.0.1:{server.port}/api", key, timeout=PATIENCE_S)
        self.addAsyncCleanup(backend.close)
        return backend

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.api = self.backend(self.server)

    def room(self, name: str) -> str:
        """A room of this test's own."""
        return f"{self.id()}-{name}"

    async def fails(self, code: int, call: Any) -> None:
        with self.assertRaises(cent.CentApiResponseError) as caught:
            await call
        self.assertEqual(caught.exception.code, code, caught.exception)

    async def test_messages_reach_members_and_the_history(self) -> None:
        room = self.room("hall")
        ann = await (await self.connect("Ann")).enter(room)
        first = await self.api.publish(
            cent.PublishRequest(channel=room, data={"t": 1}, tags={"kind": "news"}, idempotency_key="k")
        )
        again = await self.api.publish(cent.PublishRequest(channel=room, data={"t": 2}, idempotency_key="k"))
        self.assertEqual((first.offset, first.epoch), (again.offset, again.epoch))
        passing = await self.api.publish(cent.PublishRequest(channel=room, data="passing", skip_history=True))
        self.assertEqual(passing.offset, 0)
        last = await self.api.publish(cent.PublishRequest(channel=room, data=None, b64data="WzFd"))
        self.assertEqual(last.offset, 2)
        await ann.heard(3)
        self.assertEqual(ann.data, [{"t": 1}, "passing", [1]])
        self.assertEqual(ann.publications[0].tags, {"kind": "news"})
        kept = await self.api.history(cent.HistoryRequest(channel=room, limit=-1))
        self.assertEqual([publication.data for publication in kept.publications], [{"t": 1}, [1]])
        self.assertEqual((kept.publications[0].tags, kept.offset, kept.epoch), ({"kind": "news"}, 2, first.epoch))
        since = cent.StreamPosition(offset=1, epoch=kept.epoch)
        later = await self.api.history(cent.HistoryRequest(channel=room, limit=10, since=since))
        self.assertEqual([publication.offset for publication in later.publications], [2])
        await self.api.history_remove(cent.HistoryRemoveRequest(channel=room))
        self.assertEqual((await self.api.history(cent.HistoryRequest(channel=room, limit=-1))).publications, [])

    async def test_a_broadcast_and_a_batch_answer_each(self) -> None:
        rooms = [self.room("one"), self.room("two")]
        told = await self.api.broadcast(cent.BroadcastRequest(channels=[*rooms, "no:where"], data=1))
        self.assertEqual([response.result and response.result.offset for response in told.responses], [1, 1, None])
        self.assertEqual(told.responses[2].error and told.responses[2].error.code, 102)
        for parallel in [False, True]:
            requests = [
                cent.PublishRequest(channel=rooms[0], data=2),
                cent.UnsubscribeRequest(channel=rooms[0], user="nobody"),
                cent.PresenceStatsRequest(channel=rooms[0]),
            ]
            replies = (await self.api.batch(cent.BatchRequest(requests=requests, parallel=parallel))).replies
            self.assertEqual(replies[0].offset, 3 if parallel else 2)
            self.assertEqual((len(replies), replies[2].num_clients), (3, 0))

    async def test_rooms_and_nodes_are_told_of(self) -> None:
        room = self.room("hall")
        ann = await self.connect("Ann")
        await ann.enter(room)
        here = await self.api.presence(cent.PresenceRequest(channel=room))
        self.assertEqual({id: info.conn_info for id, info in here.presence.items()}, {ann.id: {"name": "Ann"}})
        stats = await self.api.presence_stats(cent.PresenceStatsRequest(channel=room))
        self.assertEqual((stats.num_clients, stats.num_users), (1, 1))
        rooms = (await self.api.channels(cent.ChannelsRequest(pattern=f"*{room[-20:]}"))).channels
        self.assertEqual({name: info.num_clients for name, info in rooms.items()}, {room: 1})
        [node] = (await self.api.info(cent.InfoRequest())).nodes
        self.assertEqual(node.name, "roomcast")
        self.assertTrue(node.uid and node.version and node.num_clients >= 1 and node.num_subs >= 1)

    async def test_connections_are_put_in_and_out_and_away(self) -> None:
        room = self.room("hall")
        ann = await self.connect("Ann")
        subscribe = cent.SubscribeRequest(user="", channel=room, client=ann.id, data={"why": "invited"})
        await self.api.subscribe(subscribe)
        await until(lambda: ann.served, "the room")
        self.assertEqual(ann._payload.decode(ann.served[0].data), {"why": "invited"})
        await self.api.publish(cent.PublishRequest(channel=room, data=1))
        await until(lambda: ann.served_publications, "what is said there")
        await self.api.unsubscribe(cent.UnsubscribeRequest(user="", channel=room, client=ann.id))

        async def is_empty() -> bool:
            return not (await self.api.presence(cent.PresenceRequest(channel=room))).presence

        await until(is_empty, "the room to be empty")
        await self.api.refresh(cent.RefreshRequest(user="", client=ann.id))
        goodbye = cent.Disconnect(code=4501, reason="go home")
        await self.api.disconnect(cent.DisconnectRequest(user="", client=ann.id, disconnect=goodbye))
        await until(lambda: ann.disconnected, "the end")
        self.assertEqual((ann.disconnected[0].code, ann.disconnected[0].reason), (4501, "go home"))

    async def test_what_cannot_be_done_is_told(self) -> None:
        await self.fails(102, self.api.publish(cent.PublishRequest(channel="no:where", data=1)))
        await self.fails(107, self.api.publish(cent.PublishRequest(channel="", data=1)))
        await self.fails(108, self.api.history(cent.HistoryRequest(channel="plain:1")))
        await self.fails(108, self.api.presence(cent.PresenceRequest(channel="plain:1")))
        lost = cent.StreamPosition(offset=1, epoch="another")
        await self.fails(112, self.api.history(cent.HistoryRequest(channel=self.room("x"), limit=1, since=lost)))
        with self.assertRaises(cent.CentUnauthorizedError):
            await self.backend(self.server, "wrong").info(cent.InfoRequest())


def load_tests(loader: unittest.TestLoader, *_: Any) -> unittest.TestSuite:
    return on_every_encoding(loader, Backend)
