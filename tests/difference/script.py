"""A script: what some clients, a backend and strangers do, one after the other. It is built anew for each play, with names
of rooms and users of its own, so that plays do not meet on a server."""

import inspect
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from tokens import Token


@dataclass
class Step:
    """One thing that somebody does. `kind` is what a known difference names."""

    kind: str
    actor: Optional[str] = None
    # One of these, by kind.
    commands: list[dict] = field(default_factory=list)
    frame: Any = None
    request: Optional["Request"] = None
    listen: Optional["Request"] = None
    seconds: float = 0.0
    # Where the socket is opened.
    path: str = "/connection/websocket"
    # The ids of the replies that are waited for.
    awaited: list[int] = field(default_factory=list)

    @property
    def room(self) -> str:
        """The room that it is about, where it is about one."""
        body = self.request.body if self.request is not None else next(iter(self.commands), {}).get(self.kind)
        return str(body.get("channel", "")) if isinstance(body, dict) else ""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    # Part of the answer alone: what else the server knows is of other scripts.
    is_json: bool = True
    only: Optional[str] = None


@dataclass
class Known:
    """What only the server knows: the id of a client's connection, or the epoch of a room."""

    what: str
    name: str


class Client:
    """A client of the script; its methods are its commands."""

    def __init__(self, script: "Script", name: str, path: str = "/connection/websocket") -> None:
        self.script = script
        self.name = name
        self.path = path
        self.last_id = 0

    def say(self, kind: str, content: dict, **fields: Any) -> "Client":
        """Sends one command with the next id."""
        self.last_id += 1
        command = {"id": self.last_id, kind: content, **fields}
        self.script.steps.append(Step(kind, self.name, commands=[command], awaited=[self.last_id]))
        return self

    def say_together(self, *commands: dict) -> "Client":
        """Sends commands in one frame."""
        numbered = []
        for command in commands:
            self.last_id += 1
            numbered.append({"id": self.last_id, **command})
        kind = "+".join(next(iter(command)) for command in commands)
        awaited = [command["id"] for command in numbered]
        self.script.steps.append(Step(kind, self.name, commands=numbered, awaited=awaited))
        return self

    def frame(self, frame: Any) -> "Client":
        """Sends a frame as it stands, or this as JSON."""
        self.script.steps.append(Step("frame", self.name, frame=frame, path=self.path))
        return self

    def listen(self, method: str, path: str, body: Any = None) -> "Client":
        """Sends a request whose answer has no end, and is told what comes of it from then on."""
        kind = f"listen {path.split('?')[0].rsplit('/', 1)[-1]}"
        self.script.steps.append(Step(kind, self.name, listen=Request(method, path, {}, body)))
        return self

    def leave(self) -> "Client":
        """Closes its socket."""
        self.script.steps.append(Step("leave", self.name))
        return self

    def connect(self, user: Optional[str] = None, **content: Any) -> "Client":
        """Connects, with a good token where a user is named."""
        if user is not None:
            content["token"] = Token(sub=self.script.user(user))
        return self.say("connect", content)

    def subscribe(self, channel: str, **content: Any) -> "Client":
        return self.say("subscribe", {"channel": channel, **content})

    def unsubscribe(self, channel: str) -> "Client":
        return self.say("unsubscribe", {"channel": channel})

    def publish(self, channel: str, data: Any) -> "Client":
        return self.say("publish", {"channel": channel, "data": data})

    def history(self, channel: str, **content: Any) -> "Client":
        return self.say("history", {"channel": channel, **content})

    def presence(self, channel: str) -> "Client":
        return self.say("presence", {"channel": channel})

    def presence_stats(self, channel: str) -> "Client":
        return self.say("presence_stats", {"channel": channel})

    def alive(self) -> "Client":
        """Asks for something, to show whether it may."""
        return self.presence_stats(self.script.room("open:alive"))

    @property
    def id(self) -> Known:
        return Known("client", self.name)


class Script:
    def __init__(self, suffix: str, encoding: str) -> None:
        self.suffix = suffix
        self.encoding = encoding
        self.steps: list[Step] = []

    def room(self, name: str) -> str:
        """A room of this play: `namespace:name`, or a name."""
        return f"{name}-{self.suffix}"

    def user(self, name: str) -> str:
        return f"{name}-{self.suffix}" if name else ""

    def client(self, name: str, path: str = "/connection/websocket") -> Client:
        return Client(self, name, path)

    def join(self, name: str, *rooms: str, **wishes: Any) -> Client:
        """A user who has connected and entered these rooms."""
        client = self.client(name).connect(name)
        for room in rooms:
            client.subscribe(room, **wishes)
        return client

    def epoch(self, room: str) -> Known:
        return Known("epoch", room)

    def api(self, method: str, body: Any, key: Optional[str] = "secret", only: Optional[str] = None, **headers: str) -> None:
        """Calls a method of the server API."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["X-API-Key"] = key
        request = Request("POST", f"/api/{method}", sent, body, only=only)
        self.steps.append(Step(f"api {method}", request=request))

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """Sends a request; of the answer status and body are compared."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.steps.append(Step(f"{method} {path.split('?')[0]}", request=Request(method, path, sent, body, is_json=False)))

    def wait(self, seconds: float) -> None:
        """Lets time go by, as somebody does whose token ends."""
        self.steps.append(Step("wait", seconds=seconds))


@dataclass(frozen=True)
class Entry:
    """A script by its name, with the configuration that it is for."""

    name: str
    configuration: str
    build: Callable[[Script], None]
    encodings: tuple[str, ...]

    def steps(self, suffix: str, encoding: str) -> list[Step]:
        script = Script(suffix, encoding)
        self.build(script)
        return script.steps


ENTRIES: list[Entry] = []
BOTH = ("json", "protobuf")


def script(configuration: str = "main", encodings: tuple[str, ...] = BOTH, each: Optional[dict[str, Any]] = None):
    """Makes an entry of a function; with `each`, one for every value, under its name."""

    def add(build: Callable) -> Callable:
        name = build.__name__.replace("_", " ")
        if each is None:
            ENTRIES.append(Entry(name, configuration, build, encodings))
            return build
        assert len(inspect.signature(build).parameters) == 2, name
        for title, value in each.items():
            bound = lambda script, value=value: build(script, value)
            ENTRIES.append(Entry(f"{name}: {title}", configuration, bound, encodings))
        return build

    return add
