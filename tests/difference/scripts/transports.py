"""Requests that are no WebSocket: what is served where, and what strangers are told."""

from script import Script, script

ADDRESSES = {
    "a WebSocket without an upgrade": ("GET", "/connection/websocket", {}),
    "a stream by GET": ("GET", "/connection/http_stream", {}),
    "a stream of nonsense": ("POST", "/connection/http_stream", {"body": "nonsense"}),
    "a stream without a connect": ("POST", "/connection/http_stream", {"body": '{"id":1,"ping":{}}'}),
    "a stream of nothing": ("POST", "/connection/http_stream", {"body": ""}),
    "events of nonsense": ("GET", "/connection/sse?cf_connect=nonsense", {}),
    "events without a connect": ("GET", "/connection/sse", {}),
    "an emulation by GET": ("GET", "/emulation", {}),
    "an emulation of nonsense": ("POST", "/emulation", {"body": "nonsense"}),
    "an emulation of nobody": ("POST", "/emulation", {"body": '{"session":"nobody","node":"nowhere","data":"{}"}'}),
    "health": ("GET", "/health", {}),
    "health by POST": ("POST", "/health", {"body": ""}),
    "nothing": ("GET", "/connection/nonsense", {}),
}


@script(encodings=("json",), each=ADDRESSES)
def an_address(s: Script, value) -> None:
    method, path, rest = value
    s.http(method, path, rest.get("body"))


PAGES = {"its own": "http://page.example", "another": "http://other.example", "null": "null"}
ASKED = {
    f"{name}, of {page}": (method, path, origin)
    for name, method, path in (
        ("before a stream", "OPTIONS", "/connection/http_stream"),
        ("before an emulation", "OPTIONS", "/emulation"),
        ("an emulation", "POST", "/emulation"),
        ("a stream", "POST", "/connection/http_stream"),
    )
    for page, origin in PAGES.items()
}


@script(encodings=("json",), each=ASKED)
def a_page(s: Script, value) -> None:
    method, path, origin = value
    headers = {"Origin": origin}
    if method == "OPTIONS":
        headers |= {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    s.http(method, path, None if method == "OPTIONS" else "nonsense", **headers)
