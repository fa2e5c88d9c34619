"""Scripts from dice: three people and a backend who do what people and backends do, in rooms of every kind. The same seed
makes the same scripts. What is known to be answered otherwise is left to the scripts that were written for it."""

import random

from script import Entry, ENTRIES, Script
from tokens import Token

PEOPLE = ("ann", "ben", "eve")
ROOMS = ("open:hall", "rec:hall", "cache:hall", "bare:hall", "small:hall", "closed:hall", "watched:hall", "sub:hall", "walk010:hall")
STEPS = (8, 20)


def add(seed: int, count: int) -> None:
    """Adds scripts to the list of entries."""
    for number in range(count):
        build = lambda script, number=number: _build(script, random.Random(f"{seed} {number}"))
        ENTRIES.append(Entry(f"generated {seed}/{number}", "main", build, ("json", "protobuf")))


class _Evening:
    """One generated script: who is connected, and in which rooms."""

    def __init__(self, script: Script, dice: random.Random) -> None:
        self.script = script
        self.dice = dice
        self.rooms = [script.room(name) for name in dice.sample(ROOMS, 3)]
        self.clients = {name: script.client(name) for name in PEOPLE}
        self.connected: set[str] = set()
        self.inside: set[tuple[str, str]] = set()
        self.count = 0

    def step(self) -> None:
        name = self.dice.choice(PEOPLE)
        if name not in self.connected:
            self._connect(name)
            return
        does = self.dice.choices(
            [self._enter, self._leave, self._publish, self._read, self._look, self._backend, self._together],
            [8, 3, 8, 4, 3, 8, 2],
        )[0]
        does(name)

    def _room(self) -> str:
        return self.dice.choice(self.rooms)

    def _data(self) -> object:
        self.count += 1
        return self.dice.choice([self.count, {"n": self.count}, f"{self.count}", [self.count, None]])

    def _connect(self, name: str) -> None:
        self.connected.add(name)
        claims: dict = {"sub": self.script.user(name)}
        if self.dice.random() < 0.3:
            claims["info"] = {"name": name}
        if self.dice.random() < 0.3:
            claims["exp"] = 3600
        if self.dice.random() < 0.2:
            claims["channels"] = [self._room()]
        self.clients[name].say("connect", {"token": Token(**claims)})

    def _wishes(self) -> dict:
        return {wish: True for wish in ("recoverable", "positioned", "join_leave") if self.dice.random() < 0.3}

    def _enter(self, name: str) -> None:
        room = self._room()
        content = self._wishes()
        if self.dice.random() < 0.3:
            content |= {"recover": True, "offset": self.dice.randrange(4), "epoch": self.script.epoch(room)}
        if self.dice.random() < 0.2:
            claims = {"sub": self.script.user(name), "channel": room}
            if self.dice.random() < 0.3:
                claims["info"] = {"seat": self.count}
            content["token"] = Token(**claims)
        self.clients[name].subscribe(room, **content)

    def _leave(self, name: str) -> None:
        self.clients[name].unsubscribe(self._room())

    def _publish(self, name: str) -> None:
        self.clients[name].publish(self._room(), self._data())

    def _read(self, name: str) -> None:
        content: dict = {"limit": self.dice.choice([0, 1, 2, 5, -1])}
        if self.dice.random() < 0.3:
            content["reverse"] = True
        if self.dice.random() < 0.4:
            content["since"] = {"offset": self.dice.randrange(5)}
        room = self._room()
        self.clients[name].history(room, **content)
        if self.dice.random() < 0.5:
            self.script.api("history", {"channel": room} | content)

    def _look(self, name: str) -> None:
        room = self._room()
        self.clients[name].presence(room).presence_stats(room)

    def _backend(self, name: str) -> None:
        room, user = self._room(), self.script.user(name)
        publish: dict = {"channel": room, "data": self._data()}
        if self.dice.random() < 0.2:
            publish["idempotency_key"] = self.dice.choice("kl")
        if self.dice.random() < 0.2:
            publish["tags"] = {"kind": "news"}
        if self.dice.random() < 0.1:
            publish["skip_history"] = True
        calls: list[tuple[str, dict]] = [
            ("publish", publish),
            ("publish", publish),
            ("broadcast", {"channels": self.rooms, "data": self._data()}),
            ("presence", {"channel": room}),
            ("presence_stats", {"channel": room}),
            ("unsubscribe", {"user": user, "channel": room}),
        ]
        method, body = self.dice.choice(calls)
        self.script.api(method, body)

    def _together(self, name: str) -> None:
        room = self._room()
        self.clients[name].say_together(
            {"publish": {"channel": room, "data": self._data()}},
            {"history": {"channel": room, "limit": 2}},
            {"presence_stats": {"channel": room}},
        )


def _build(script: Script, dice: random.Random) -> None:
    evening = _Evening(script, dice)
    for _ in range(dice.randint(*STEPS)):
        evening.step()
