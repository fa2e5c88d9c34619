"""Room events, taken by a backend that checks signatures with the lines of docs/events.md."""

import http.server
import json
import re
import threading
import unittest
import urllib.request
from pathlib import Path
from typing import Any

from server import Server

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
SECRETS = ["whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u", "a secret that is a text"]


def documented() -> Any:
    """The function of the page."""
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(compile(block[1], str(PAGE), "exec"), names)
    return names["is_ours"]


class Backend:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        requests: list[tuple[Any, bytes]] = []
        came = self.came = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append((self.headers, self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()
                came.set()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.requests = requests
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/events"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Signatures(unittest.TestCase):
    """The lines of the page, in front of the server."""

    def test_the_lines_of_the_page_tell_the_server_from_others(self) -> None:
        is_ours = documented()
        for secret in SECRETS:
            with self.subTest(secret=secret):
                headers, body = self.told(secret)
                self.assertEqual(json.loads(body)["events"][0]["type"], "occupied")
                self.assertTrue(is_ours(secret, headers, body))
                self.assertFalse(is_ours(f"{secret}aaaa", headers, body), "another secret")
                self.assertFalse(is_ours(secret, headers, body + b" "), "another body")
                self.assertFalse(is_ours(secret, headers, body, tolerance_s=-1), "long ago")

    def told(self, secret: str) -> tuple[Any, bytes]:
        """The first thing that a server with this secret tells its backend."""
        backend = Backend()
        self.addCleanup(backend.stop)
        server = Server(
            f'[client]\nsubscribe_on_connect = ["hall"]\n[events]\nendpoint = "{backend.url}"\nsecret = "{secret}"\n'
            "[channel.without_namespace]\nroom_events = true\n"
        )
        self.addCleanup(server.stop)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/connection/sse?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D", timeout=60):
            self.assertTrue(backend.came.wait(60), server.log)
        return backend.requests[0]


if __name__ == "__main__":
    unittest.main()
