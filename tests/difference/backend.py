"""The site's backend, which both servers ask: it answers what the question itself says it should, and notes what it was asked."""

import json
import re
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What ends the names of users and rooms, and stands in data as `play`.
PLAY = re.compile(r"\b(\d+[jp]\d)\b")


class Backend:
    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], list[dict]] = defaultdict(list)
        self.lock = threading.Lock()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                server, kind = self.path.strip("/").split("/")
                status, answer = backend.answer(server, kind, text)
                body = answer.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A server that ends drops its connections.
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, server: str, kind: str, text: str) -> tuple[int, str]:
        question = json.loads(text)
        if play := PLAY.search(text):
            with self.lock:
                self.asked[server, play[1]].append({"question": kind, **question})
        data = question.get("data")
        if isinstance(data, dict) and "status" in data:
            return data["status"], "no"
        if isinstance(data, dict) and "text" in data:
            return 200, data["text"]
        if isinstance(data, dict) and "answer" in data:
            return 200, json.dumps(_in_time(data["answer"]))
        # Who is asked about without a word of theirs is known by name.
        name = question.get("user", "").split("-")[0]
        known = {
            "extended": {"result": {"expire_at": int(time.time()) + 600}},
            "expired": {"result": {"expired": True}},
            "forever": {"result": {"expire_at": 0}},
            "nothing": {},
            "failed": {"error": {"code": 1000, "message": "no"}},
        }
        return 200, json.dumps(known.get(name, {"result": {}}))

    def told(self, server: str, play: str) -> list[dict]:
        """What was asked in this play since this was called last."""
        with self.lock:
            return self.asked.pop((server, play), [])

    def stop(self) -> None:
        self.server.shutdown()


def _in_time(answer: object) -> object:
    """Moments are said as seconds from now."""
    if isinstance(answer, dict):
        return {
            key: int(time.time()) + value if key == "expire_at" and value else _in_time(value) for key, value in answer.items()
        }
    return answer
