"""The client protocol in both encodings, as plain dictionaries: what JSON says is the form, and bytes that are not JSON
stand in it as `{"bytes": hex}`."""

import json
from typing import Any

from centrifuge.protocol import client_pb2
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

# Under this name publications have their payload as it came.
RAW = " raw"
NEWER = {
    ("Publication", 11): "key",
    ("Publication", 12): "removed",
    ("Publication", 13): "score",
    ("Publication", 14): "epoch",
    ("Publication", 16): "version",
    ("SubscribeResult", 15): "type",
}


class Json:
    name = "json"
    subprotocols = None

    @staticmethod
    def encode(commands: list[dict]) -> str:
        return "\n".join(json.dumps(command, ensure_ascii=False, separators=(",", ":")) for command in commands)

    @staticmethod
    def decode(frame: Any) -> list[dict]:
        if isinstance(frame, bytes):
            frame = frame.decode(errors="replace")
        return [json.loads(line) for line in frame.split("\n") if line.strip()]


class Protobuf:
    name = "protobuf"
    subprotocols = ["centrifuge-protobuf"]

    @staticmethod
    def encode(commands: list[dict]) -> bytes:
        frame = b""
        for command in commands:
            message = client_pb2.Command()
            _fill(message, command)
            data = message.SerializeToString()
            frame += _varint(len(data)) + data
        return frame

    @staticmethod
    def decode(frame: Any) -> list[dict]:
        if isinstance(frame, str):
            return [{"text instead of bytes": frame}]
        replies = []
        while frame:
            length, frame = _read_varint(frame)
            reply = client_pb2.Reply()
            try:
                reply.ParseFromString(frame[:length])
            except DecodeError as error:
                replies.append({"not a reply": str(error)})
                break
            replies.append(_read(reply))
            frame = frame[length:]
        return replies


ENCODINGS = {encoding.name: encoding for encoding in (Json, Protobuf)}


def _fill(message: Message, value: dict) -> None:
    for name, content in value.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            continue
        target = getattr(message, name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, item in content.items():
                if isinstance(item, dict):
                    _fill(target[key], item)
                else:
                    target[key] = item
        elif field.message_type is not None and isinstance(content, list):
            for item in content:
                _fill(target.add(), item)
        elif field.message_type is not None:
            target.SetInParent()
            _fill(target, content)
        elif isinstance(content, list) and field.type != field.TYPE_BYTES:
            target.extend(content)
        elif field.type == field.TYPE_BYTES:
            is_raw = isinstance(content, dict) and set(content) == {"bytes"}
            compact = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            setattr(message, name, bytes.fromhex(content["bytes"]) if is_raw else compact.encode())
        else:
            setattr(message, name, content)


def _read(message: Message) -> dict:
    value: dict[str, Any] = {}
    for field, content in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value[field.name] = {key: _read(item) if isinstance(item, Message) else item for key, item in content.items()}
        elif field.message_type is not None:
            is_list = not isinstance(content, Message)
            value[field.name] = [_read(item) for item in content] if is_list else _read(content)
        elif field.type == field.TYPE_BYTES:
            value[field.name] = _payload(content)
        else:
            value[field.name] = content if isinstance(content, (str, int, bool, float)) else list(content)
    # Deltas are made of bytes, not of what they mean.
    if message.DESCRIPTOR.name == "Publication":
        value[RAW] = message.data
    # What is newer than the schema of the SDK.
    for unknown in UnknownFieldSet(message):
        name = NEWER.get((message.DESCRIPTOR.name, unknown.field_number), str(unknown.field_number))
        value[name] = unknown.data.decode(errors="replace") if isinstance(unknown.data, bytes) else unknown.data
    return value


def _payload(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return {"bytes": content.hex()}


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _read_varint(data: bytes) -> tuple[int, bytes]:
    number = shift = 0
    for index, byte in enumerate(data):
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, data[index + 1 :]
    return len(data), b""
