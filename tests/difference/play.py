"""Plays a script to one server and notes what everybody is told, step by step, in a form in which two servers that do the
same say the same: ids, epochs, times and the like are masked."""

import asyncio
import json
import re
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import aiohttp
import websockets
from centrifuge.fossil import apply_delta
from websockets.asyncio.client import ClientConnection

from script import Known, Request, Step
from servers import Server
from tokens import Token
from wire import ENCODINGS, RAW

REPLY_TIMEOUT_S = 10.0
# Whatever a server puts there.
MASKED = {"session", "node", "uid", "version", "time", "uptime", "process", "metrics"}


@dataclass
class Told:
    """What one actor is told in one step, as lines."""

    actor: str
    lines: list[str]
    is_closed: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Outcome:
    step: Step
    told: dict[str, Told]


@dataclass
class Socket:
    """A client's connection and what has come from it and was not looked at yet."""

    connection: Optional[ClientConnection] = None
    messages: list[dict] = field(default_factory=list)
    end: Optional[str] = None
    reader: Optional[asyncio.Task] = None
    replied: set[int] = field(default_factory=set)
    # Of rooms with deltas: the payload that came last, or nothing yet.
    bases: dict[str, bytes] = field(default_factory=dict)
    # The rooms that it has asked for, by the command's id.
    asked: dict[int, str] = field(default_factory=dict)
    was_closed: bool = False


class Play:
    def __init__(self, server: Server, encoding: str, quiet_s: float, asked: Callable[[], list[dict]]) -> None:
        """`asked` says what the server has asked the backend for this play since the last time."""
        self.asked = asked
        self.server = server
        self.encoding = ENCODINGS[encoding]
        self.quiet_s = quiet_s
        self.sockets: dict[str, Socket] = {}
        self.clients: dict[str, str] = {}
        self.room_epochs: dict[str, str] = {}
        self.last_heard = 0.0

    async def run(self, steps: list[Step]) -> list[Outcome]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(REPLY_TIMEOUT_S)) as self.http:
            try:
                return [await self._step(step) for step in steps]
            finally:
                for socket in self.sockets.values():
                    if socket.connection is not None:
                        await socket.connection.close()
                    elif socket.reader is not None:
                        socket.reader.cancel()
                    if socket.reader is not None:
                        await asyncio.gather(socket.reader, return_exceptions=True)

    async def _step(self, step: Step) -> Outcome:
        answer: list[str] = []
        if step.request is not None:
            answer = await self._call(step.request)
        elif step.kind == "wait":
            await asyncio.sleep(step.seconds)
        elif step.actor is not None:
            await self._act(step)
        await self._settle(step)
        told = {name: self._look(name, socket) for name, socket in self.sockets.items()}
        if step.request is not None:
            told["backend"] = Told("backend", answer)
        if questions := self.asked():
            told["proxy"] = Told("proxy", sorted(map(self._line, questions)))
        return Outcome(step, told)

    async def _act(self, step: Step) -> None:
        assert step.actor is not None
        socket = self.sockets.get(step.actor)
        if socket is None:
            socket = self.sockets[step.actor] = Socket()
            if step.listen is not None:
                socket.reader = asyncio.create_task(self._listen(socket, step.listen))
                return
            await self._open(socket, step.path)
        if step.kind == "leave" and socket.connection is None and socket.reader is not None:
            socket.reader.cancel()
        if socket.connection is None or socket.end is not None:
            return
        try:
            if step.kind == "leave":
                await socket.connection.close()
            elif step.kind == "frame":
                is_raw = isinstance(step.frame, (str, bytes))
                await socket.connection.send(step.frame if is_raw else json.dumps(self._filled(step.frame)))
            else:
                commands = [self._filled(command) for command in step.commands]
                socket.asked |= {c["id"]: c["subscribe"].get("channel", "") for c in commands if "subscribe" in c}
                await socket.connection.send(self.encoding.encode(commands))
        except websockets.ConnectionClosed:
            pass

    async def _listen(self, socket: Socket, request: Request) -> None:
        """Notes what comes of an answer without end, as lines or as events."""
        url = f"http://127.0.0.1:{self.server.port}{self._with_tokens(request.path)}"
        body = None if request.body is None else json.dumps(self._filled(request.body), separators=(",", ":"))
        endless = aiohttp.ClientTimeout(total=None)
        async with self.http.request(request.method, url, data=body, timeout=endless) as response:
            if response.status != 200:
                text = (await response.read()).decode(errors="replace").strip()
                socket.end = f"refused with {response.status} {'<text>' if text else ''}"
                return
            async for line in response.content:
                text = line.decode(errors="replace").strip().removeprefix("data: ")
                if text.startswith("{"):
                    self.last_heard = time.monotonic()
                    socket.messages.append(json.loads(text))
                elif text and not text.startswith(":"):
                    socket.messages.append({"line": text})
        self.last_heard = time.monotonic()
        socket.end = "the end"

    def _with_tokens(self, path: str) -> str:
        """The address with what it says of the connect, where that is not yet a text."""
        address, mark, said = path.partition("?cf_connect=")
        if not mark:
            return path
        token = self._filled(Token(**json.loads(said))) if said.startswith("{") else said
        return address + mark + urllib.parse.quote(json.dumps({"token": token}))

    async def _open(self, socket: Socket, path: str) -> None:
        url = f"ws://127.0.0.1:{self.server.port}{path}"
        try:
            socket.connection = await websockets.connect(
                url,
                subprotocols=self.encoding.subprotocols,
                proxy=None,
                compression=None,
                ping_interval=None,
                max_size=None,
                open_timeout=REPLY_TIMEOUT_S,
            )
        except websockets.InvalidStatus as refused:
            socket.end = f"refused with {refused.response.status_code}"
            return
        socket.reader = asyncio.create_task(self._read(socket))

    async def _read(self, socket: Socket) -> None:
        assert socket.connection is not None
        try:
            async for frame in socket.connection:
                self.last_heard = time.monotonic()
                for message in self.encoding.decode(frame):
                    socket.messages.append(message)
                    socket.replied.add(message.get("id", 0))
        except websockets.ConnectionClosed:
            pass
        except ValueError as error:
            socket.messages.append({"not a reply": str(error)})
        self.last_heard = time.monotonic()
        socket.end = f"close {socket.connection.close_code} {socket.connection.close_reason}"

    async def _settle(self, step: Step) -> None:
        """Waits for the replies, and then until nobody has been told anything for a while."""
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        socket = self.sockets.get(step.actor or "")
        if socket is not None:
            while socket.end is None and not socket.replied.issuperset(step.awaited) and time.monotonic() < deadline:
                await asyncio.sleep(0.002)
        self.last_heard = max(self.last_heard, time.monotonic())
        while (rest := self.last_heard + self.quiet_s - time.monotonic()) > 0 and time.monotonic() < deadline:
            await asyncio.sleep(rest)

    def _look(self, name: str, socket: Socket) -> Told:
        """Takes what has come: replies by their ids, then pushes by their rooms, then the end."""
        messages, socket.messages = socket.messages, []
        for message in messages:
            self._learn(name, message)
        replies = sorted((m for m in messages if "id" in m), key=lambda message: message["id"])
        # An empty one is a ping.
        pushes = [message for message in messages if message and "id" not in message]
        pushes.sort(key=lambda message: str(message.get("push", message).get("channel", "")))
        lines = []
        for message in replies:
            rest = {key: value for key, value in message.items() if key != "id"}
            lines.append(f"reply {message['id']} {self._line(rest)}")
        lines += [f"push {self._line(message.get('push', message))}" for message in pushes]
        if socket.end is not None and not socket.was_closed:
            socket.was_closed = True
            lines.append(socket.end)
        return Told(name, lines, socket.was_closed)

    def _learn(self, name: str, message: dict) -> None:
        """Notes whose an id is and which epoch a room has."""
        if "connect" in message:
            self.clients[message["connect"].get("client", "")] = name
        self._apply_deltas(self.sockets[name], message)
        # Where the two tell different clients of it, they would be asked for different things.
        if epoch := message.get("subscribe", {}).get("epoch"):
            self.room_epochs[self.sockets[name].asked.get(message["id"], "")] = epoch

    @staticmethod
    def _apply_deltas(socket: Socket, message: dict) -> None:
        """Puts payloads in the place of deltas, as an SDK does; a delta that does not fit shows."""
        room, publications = message.get("push", {}).get("channel", ""), [message.get("push", {}).get("pub")]
        if "subscribe" in message:
            room, publications = socket.asked.get(message.get("id", 0), ""), message["subscribe"].get("publications", [])
            if message["subscribe"].get("delta"):
                socket.bases.setdefault(room, b"")
            else:
                socket.bases.pop(room, None)
        if room not in socket.bases:
            return
        for publication in filter(None, publications):
            payload = publication.get(RAW, publication.get("data"))
            payload = payload.encode() if isinstance(payload, str) else payload
            try:
                if publication.get("delta"):
                    payload = apply_delta(socket.bases[room], payload)
                socket.bases[room] = payload
                publication["data"] = json.loads(payload) if payload else None
            except (ValueError, TypeError, AttributeError, IndexError) as error:
                publication["data"] = {"no payload": type(error).__name__}

    async def _call(self, request: Request) -> list[str]:
        url = f"http://127.0.0.1:{self.server.port}{request.path}"
        body = self._filled(request.body) if request.is_json or isinstance(request.body, (dict, list)) else request.body
        data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body, separators=(",", ":"))
        try:
            async with self.http.request(
                request.method, url, data=data, headers=request.headers, allow_redirects=False
            ) as response:
                text = (await response.read()).decode(errors="replace")
                status = response.status
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return [f"no answer: {type(error).__name__}"]
        try:
            if text.count("\n{") > 0:
                return [f"status {status}", *(f"line {self._line(json.loads(line))}" for line in text.strip().split("\n"))]
            answer = json.loads(text)
        except ValueError:
            # What it says to people is its own.
            return [f"status {status}", "body <text>" if status >= 400 and text.strip() else f"body {text.strip()[:200]}"]
        if request.only and isinstance(answer, dict):
            answer = {"result": {request.only: answer.get("result", {}).get(request.only)}}
        if isinstance(answer, dict) and isinstance(body, dict) and isinstance(answer.get("result"), dict):
            if answer["result"].get("epoch"):
                self.room_epochs[str(body.get("channel"))] = answer["result"]["epoch"]
        return [f"status {status}", f"body {self._line(answer)}"]


    def _filled(self, value: Any) -> Any:
        """The value with tokens made, and with what this server has said put in."""
        if isinstance(value, Token):
            return value.sign()
        if isinstance(value, Known):
            known = {name: id for id, name in self.clients.items()} if value.what == "client" else self.room_epochs
            return known.get(value.name, "nothing")
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        return [self._filled(item) for item in value] if isinstance(value, list) else value

    def _line(self, value: Any) -> str:
        return json.dumps(self._masked(value), sort_keys=True, ensure_ascii=False)

    def _masked(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self._name(name): self._masked(item, name) for name, item in value.items() if name != RAW}
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        if key == "epoch" and value:
            return "<epoch>"
        if key in MASKED and not isinstance(value, bool):
            return f"<{key}>"
        if key == "ttl" and isinstance(value, int):
            return f"<about {10 * round(value / 10)} s>" if value > 9 else "<a few s>"
        return self._name(value) if isinstance(value, str) else value

    def _name(self, text: str) -> str:
        if text in self.clients:
            return f"<{self.clients[text]}>"
        return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>", text)

