"""Both servers under equivalent configurations: each is one dictionary in Centrifugo's names, given to both as JSON."""

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokens import PREVIOUS_SECRET, SECRET, SUBSCRIPTION_SECRET, public_key

START_TIMEOUT_S = 60.0
HISTORY = {"history_size": 10, "history_ttl": "300s"}
CLIENT = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_history_for_client": True,
    "allow_presence_for_client": True,
}
# Who may do what, by who is let: a client, a subscriber, an anonymous one, each or not.
WALK = [f"{c}{s}{a}" for c in "01" for s in "01" for a in "01"]


def _walk(bits: str) -> dict:
    options: dict[str, Any] = {"name": f"walk{bits}", "presence": True, "join_leave": True, **HISTORY}
    for bit, who in zip(bits, ("client", "subscriber", "anonymous")):
        for what in ("subscribe", "publish", "history", "presence"):
            if (what, who) != ("subscribe", "subscriber"):
                options[f"allow_{what}_for_{who}"] = bit == "1"
    return options


NAMESPACES = [
    {
        "name": "open",
        "presence": True,
        "join_leave": True,
        "allow_recovery": True,
        "allow_positioning": True,
        **HISTORY,
        **CLIENT,
    },
    {
        "name": "rec",
        "presence": True,
        "join_leave": True,
        "force_push_join_leave": True,
        "force_recovery": True,
        "force_positioning": True,
        **HISTORY,
        **CLIENT,
    },
    {"name": "cache", "force_recovery": True, "force_recovery_mode": "cache", **HISTORY, **CLIENT},
    {"name": "bare", **CLIENT},
    {"name": "closed", "presence": True, "join_leave": True, **HISTORY},
    {"name": "watched", "presence": True, "join_leave": True, "allow_subscribe_for_client": True, **HISTORY},
    {"name": "small", "history_size": 2, "history_ttl": "300s", "allow_recovery": True, **CLIENT},
    {"name": "short", "history_size": 10, "history_ttl": "1s", "force_recovery": True, **CLIENT},
    {"name": "own", "allow_user_limited_channels": True, "presence": True, **HISTORY},
    {"name": "mine", "presence": True, "join_leave": True, "force_recovery": True, **HISTORY},
    {"name": "both", "allow_user_limited_channels": True, **CLIENT},
    {"name": "spelled", "channel_regex": "^[a-z]+-[a-z0-9]+$", **CLIENT},
    {"name": "sub", "allow_subscribe_for_client": True, "allow_publish_for_subscriber": True, **HISTORY},
    {"name": "delta", "allowed_delta_types": ["fossil"], "delta_publish": True, "force_recovery": True, **HISTORY, **CLIENT},
    {"name": "flagged", "allowed_delta_types": ["fossil"], "allow_recovery": True, "allow_positioning": True, **HISTORY, **CLIENT},
    {
        "name": "filtered",
        "allow_tags_filter": True,
        "allowed_delta_types": ["fossil"],
        "allow_recovery": True,
        "allow_positioning": True,
        **HISTORY,
        **CLIENT,
    },
    {"name": "json", "publication_data_format": "json", **CLIENT},
    {"name": "object", "publication_data_format": "json_object", **CLIENT},
    {"name": "binary", "publication_data_format": "binary", **CLIENT},
    {"name": "auto", "auto_cache_recover": True, "force_recovery": True, "force_recovery_mode": "cache", **HISTORY, **CLIENT},
    *map(_walk, WALK),
]

MAIN: dict[str, Any] = {
    "client": {
        "allowed_origins": ["http://page.example"],
        "ping_interval": "600s",
        "pong_timeout": "60s",
        "channel_limit": 8,
        "token": {
            "hmac_secret_key": SECRET,
            "hmac_previous_secret_key": PREVIOUS_SECRET,
        },
    },
    "channel": {"without_namespace": dict(CLIENT), "namespaces": NAMESPACES},
    "http_api": {"key": "secret"},
    "sse": {"enabled": True},
    "http_stream": {"enabled": True},
    "uni_websocket": {"enabled": True},
    "uni_http_stream": {"enabled": True},
    "uni_sse": {"enabled": True},
    "init": {"enabled": True},
}


def _but(changes: dict, of: dict = MAIN) -> dict:
    """A configuration with some things otherwise."""
    changed = dict(of)
    for key, value in changes.items():
        changed[key] = _but(value, of.get(key, {})) if isinstance(value, dict) else value
    return changed


def configurations() -> dict[str, dict]:
    return {
        "main": MAIN,
        "insecure": _but({"client": {"insecure": True}}),
        "guests": _but({"client": {"allow_anonymous_connect_without_token": True}}),
        "personal": _but(
            {"client": {"subscribe_to_user_personal_channel": {"enabled": True, "personal_channel_namespace": "mine"}}}
        ),
        "single": _but(
            {
                "client": {
                    "subscribe_to_user_personal_channel": {
                        "enabled": True,
                        "personal_channel_namespace": "mine",
                        "single_connection": True,
                    }
                }
            }
        ),
        "signs": _but(
            {
                "client": {"subscribe_to_user_personal_channel": {"enabled": True, "personal_channel_namespace": "mine"}},
                "channel": {
                    "private_prefix": "~",
                    "namespace_boundary": "/",
                    "user_boundary": "@@",
                    "user_separator": ";",
                },
            }
        ),
        "signless": _but(
            {"channel": {"private_prefix": "", "namespace_boundary": "", "user_boundary": "", "user_separator": ""}}
        ),
        "nothing": _but({"client": {"token": {"hmac_secret_key": "", "hmac_previous_secret_key": ""}}}),
        "strict": _but(
            {
                "client": {
                    "disallow_anonymous_connection_tokens": True,
                    "token": {
                        "hmac_previous_secret_key": "",
                        "rsa_public_key": public_key("RS"),
                        "ecdsa_public_key": public_key("ES"),
                        "audience": "chat",
                        "issuer": "shop",
                        "user_id_claim": "user_id",
                    },
                    "subscription_token": {"enabled": True, "hmac_secret_key": SUBSCRIPTION_SECRET},
                },
                "http_api": {"error_mode": "transport"},
            }
        ),
        "brief": _but(
            {
                "client": {
                    "expired_close_delay": "1s",
                    "expired_sub_close_delay": "1s",
                    "presence_update_interval": "1s",
                    "stale_close_delay": "1s",
                    "history_max_publication_limit": 3,
                    "recovery_max_publication_limit": 3,
                    "user_id_http_header": "X-User-ID",
                }
            }
        ),
    }


def with_backend(url: str) -> dict:
    """One whose backend is asked; SERVER in an address is the name of who asks."""

    def proxy(kind: str, **more: Any) -> dict:
        return {"endpoint": f"{url}/SERVER/{kind}", "timeout": "5s"} | more

    asked = {
        "name": "asked",
        "presence": True,
        "allow_presence_for_subscriber": True,
        "subscribe_proxy_enabled": True,
        "publish_proxy_enabled": True,
        "sub_refresh_proxy_enabled": True,
        **HISTORY,
    }
    return _but(
        {
            "client": {
                "expired_close_delay": "1s",
                "expired_sub_close_delay": "1s",
                "presence_update_interval": "1s",
                "proxy": {"connect": proxy("connect", enabled=True), "refresh": proxy("refresh", enabled=True)},
            },
            "channel": {
                "proxy": {kind: proxy(kind) for kind in ("subscribe", "publish", "sub_refresh")},
                "namespaces": [*NAMESPACES, asked],
            },
            "rpc": {
                "proxy": proxy("rpc"),
                "without_namespace": {"proxy_enabled": True},
                "namespaces": [{"name": "ns", "proxy_enabled": True}, {"name": "shut"}],
            },
        }
    )


def with_backend_and_signs(url: str) -> dict:
    return _but({"rpc": {"namespace_boundary": "/"}}, with_backend(url))


# What is an option of one of them alone, or means the same under another name.
OF_CENTRIFUGO = {"health": {"enabled": True}, "log": {"level": "error"}, "usage_stats": {"disabled": True}}
NOT_OF_ROOMCAST = [("client", "presence_update_interval")]
OF_ROOMCAST = {"log": {"level": "warn", "file": False}}


@dataclass
class Server:
    name: str
    port: int
    process: subprocess.Popen

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, configuration: dict) -> Server:
    """Starts the one of them that has this name, and waits until it answers."""
    folder = Path(tempfile.mkdtemp(prefix=f"roomcast-difference-{name}-"))
    port = _free_port()
    configuration = _but({"http_server": {"address": "127.0.0.1", "port": port}}, configuration)
    if name == "centrifugo":
        configuration = _but(OF_CENTRIFUGO, configuration)
        command = [os.environ["CENTRIFUGO_BIN"], "-c"]
    else:
        configuration = _but(OF_ROOMCAST, configuration)
        for section, key in NOT_OF_ROOMCAST:
            configuration[section] = {k: value for k, value in configuration[section].items() if k != key}
        command = [os.environ["ROOMCAST_BIN"], "serve", "--data-dir", str(folder), "--config"]
    file = folder / "config.json"
    file.write_text(json.dumps(configuration).replace("/SERVER/", f"/{name}/"))
    log = (folder / "log").open("w")
    process = subprocess.Popen([*command, str(file)], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    server = Server(name, port, process)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return server
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise SystemExit(f"{name} does not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
