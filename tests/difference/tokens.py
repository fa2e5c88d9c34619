"""Tokens as a backend signs them. They are made when they are sent: their times are from then."""

import base64
import hashlib
import hmac
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SECRET = "the secret of the difference test"
PREVIOUS_SECRET = "the secret that was before it"
SUBSCRIPTION_SECRET = "the secret of subscriptions"
# Claims that are moments: numbers of seconds from now.
MOMENTS = ("exp", "nbf", "iat", "expire_at")
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


@dataclass(init=False)
class Token:
    claims: dict[str, Any]
    algorithm: str
    secret: str
    header: dict[str, Any]
    tail: str

    def __init__(
        self, *, algorithm: str = "HS256", secret: str = SECRET, header: Any = None, tail: str = "", **claims: Any
    ) -> None:
        """Signs claims; `tail` is added to what is sent. A claim that is a list of one moment is sent as it stands."""
        self.claims, self.algorithm, self.secret = claims, algorithm, secret
        self.header = header or {}
        self.tail = tail

    def sign(self) -> str:
        now = int(time.time())
        claims = {}
        for name, value in self.claims.items():
            is_moment = name in MOMENTS and isinstance(value, (int, float)) and value != 0
            claims[name] = value + now if is_moment else value
        header = {"alg": self.algorithm, "typ": "JWT"} | self.header
        message = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        return f"{message}.{_encode(self._signature(message.encode()))}{self.tail}"

    def _signature(self, message: bytes) -> bytes:
        if self.algorithm in HASHES:
            return hmac.new(self.secret.encode(), message, HASHES[self.algorithm]).digest()
        if self.algorithm.startswith(("RS", "ES")):
            return _sign_by_key(self.algorithm, message)
        return b""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@cache
def keys() -> dict[str, Path]:
    """A key of RSA and one of P-256, made for this run."""
    folder = Path(tempfile.mkdtemp(prefix="roomcast-difference-keys-"))
    made = {"RS": folder / "rsa.pem", "ES": folder / "ec.pem"}
    run = lambda *command: subprocess.run(["openssl", *command], check=True, capture_output=True)
    run("genrsa", "-out", str(made["RS"]), "2048")
    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(made["ES"]))
    return made


@cache
def public_key(kind: str) -> str:
    command = ["openssl", "pkey", "-in", str(keys()[kind]), "-pubout"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _sign_by_key(algorithm: str, message: bytes) -> bytes:
    command = ["openssl", "dgst", f"-sha{algorithm[2:]}", "-sign", str(keys()[algorithm[:2]])]
    signature = subprocess.run(command, input=message, check=True, capture_output=True).stdout
    if algorithm.startswith("RS"):
        return signature
    # A token has both numbers side by side, not as ASN.1.
    numbers, rest = [], signature[2:]
    for _ in range(2):
        length = rest[1]
        numbers.append(rest[2 : 2 + length].lstrip(b"\0").rjust(32, b"\0"))
        rest = rest[2 + length :]
    return b"".join(numbers)
