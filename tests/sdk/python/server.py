"""The server under test: the real binary, mostly in development mode, on a loopback port, with a configuration of its own."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
START_TIMEOUT_S = 60.0
# More than the server grants itself for draining.
STOP_TIMEOUT_S = 60.0
# How long the server waits for a client unless its configuration says otherwise: on a busy machine, one that is slow for a
# moment must not be taken for gone. Pings do not come while a test lasts.
PATIENCE = {"ping_interval": "1h", "pong_timeout": "59m", "stale_close_delay": "60s"}


class Server:
    """A running server; `port` 0 takes a free one. Without development mode clients need tokens."""

    def __init__(self, config: str = "", port: int = 0, is_dev: bool = True) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="roomcast-sdk-"))
        file = self._folder / "roomcast.toml"
        file.write_text(config)
        command = [os.environ["ROOMCAST_BIN"], "serve", "--listen", f"127.0.0.1:{port}"] + ["--dev"] * is_dev
        command += ["--config", str(file), "--data-dir", str(self._folder)]
        self._lines: list[str] = []
        self._port = 0
        self._listening = threading.Event()
        patience = {f"ROOMCAST_CLIENT_{key.upper()}": delay for key, delay in PATIENCE.items() if key not in config}
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | patience
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._listening.wait(START_TIMEOUT_S) or self._port == 0:
            self.crash()
            raise RuntimeError(f"the server does not say where it listens; it said:\n{self.log}")

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/connection/websocket"

    def stop(self) -> None:
        """Lets the server drain, and holds that it ended well and that nothing in it broke."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._clean_up()
        assert self._process.returncode == 0, f"the server did not drain:\n{self.log}"
        assert "panicked" not in self.log and "ERROR" not in self.log, self.log

    def pause(self) -> None:
        """Stops the process where it is; its sockets stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def crash(self) -> None:
        """Ends the server as a crash would."""
        self._process.kill()
        self._clean_up()

    def _clean_up(self) -> None:
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            if found := LISTENING.search(line):
                self._port = int(found[1])
                self._listening.set()
        # The end of its log is the end of the process, before or after it listened.
        self._listening.set()

