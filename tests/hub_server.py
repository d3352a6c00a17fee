"""A small Hub on loopback, for tests: real HTTP, state in memory, faults on demand.

    with HubServer() as hub:
        hub.add_user("hf_token", "alice")
        subprocess.run(..., env=os.environ | hub.environment(cache_dir, token="hf_token"))

It speaks the plain-LFS protocol, so its clients set `HF_HUB_DISABLE_XET=1`. LFS content lies on
a second port, as on the real Hub, where it is another origin that must never see the token.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hub_routes import ROUTES, Answer, Request
from hub_store import HubError, HubStore, Repo, User


@dataclass
class Fault:
    """What goes wrong at one step: an error status, or (status 0) a cut connection.

    `after` does the step's work first, so only the answer is lost. `halfway` cuts while the
    client still sends. `act` runs before the step, to change the Hub under the client's feet.
    """

    step: str
    status: int = 0
    message: str = "injected by the test"
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    halfway: bool = False
    times: int = 1
    act: Callable[[], None] | None = None


class HubServer:
    """The stand-in: two HTTP servers over one store."""

    def __init__(self):
        self.store = HubStore()
        self.faults: list[Fault] = []
        self.calls: list[str] = []  # step names in the order of arrival; HEAD counts as GET
        self.unknown: list[str] = []  # requests that no route answers
        self.leaks: list[str] = []  # content requests that carried an Authorization header
        self._lock = threading.RLock()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in "ab"]
        self.url, self.content_url = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            server.daemon_threads = True
            arguments = {"poll_interval": 0.01}
            threading.Thread(target=server.serve_forever, kwargs=arguments, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add_user(self, token: str, name: str, role: str = "write", orgs: tuple = ()) -> User:
        self.store.users[token] = User(name, role, orgs)
        return self.store.users[token]

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.store.repos[kind, name]

    def fail(self, step: str, status: int = 0, **options) -> Fault:
        """Make the next call(s) of a step fail; see `Fault`. Unknown steps are refused."""
        if step not in {route[0] for route in ROUTES}:
            raise ValueError(f"no step {step!r} in ROUTES")
        self.faults.append(Fault(step, status, **options))
        return self.faults[-1]

    def environment(self, home, token: str | None = None) -> dict[str, str]:
        """Variables for a subprocess: this Hub, cache and saved login in `home`, no telemetry."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        }
        return variables | ({"HF_TOKEN": token} if token else {})

    def answer(self, request: Request) -> Answer | None:
        """The answer to a request; None cuts the connection."""
        method = "GET" if request.method == "HEAD" else request.method
        for step, route_method, pattern, function in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if method == route_method and match:
                request.parts = match.groupdict()
                with self._lock:
                    return self._step(step, function, request)
        self.unknown.append(f"{request.method} {request.target}")
        return Answer(404, {"error": "Not Found"})

    def cuts_halfway(self, request: Request) -> bool:
        """Whether a fault wants this request's connection cut while its large body is coming."""
        large = int(request.headers.get("content-length", 0)) > 10_000
        for fault in self.faults:
            if fault.halfway and fault.times > 0 and large:
                patterns = (route[1:3] for route in ROUTES if route[0] == fault.step)
                for method, pattern in patterns:
                    if request.method == method and re.fullmatch(pattern, request.path):
                        fault.times -= 1
                        self.calls.append(fault.step)
                        return True
        return False

    def _step(self, step: str, function, request: Request) -> Answer | None:
        self.calls.append(step)
        if step in ("lfs_put", "lfs_get") and "authorization" in request.headers:
            self.leaks.append(step)
        fault = next((f for f in self.faults if f.step == step and f.times > 0), None)
        if fault is None:
            return _guarded(function, self.store, request)
        fault.times -= 1
        if fault.act:
            fault.act()
            if not fault.after:
                return _guarded(function, self.store, request)
        if fault.after:
            _guarded(function, self.store, request)
        if fault.status == 0:
            return None
        return Answer(fault.status, {"error": fault.message}, dict(fault.headers))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body leave together: apart they wait 40 ms for each other

            def respond(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                size = int(headers.get("content-length", 0))
                request = Request(self.command, self.path, headers, b"", hub.url, hub.content_url)
                if hub.cuts_halfway(request):
                    self.rfile.read(size // 2)
                    self.connection.close()
                    self.close_connection = True
                    return
                request.body = self.rfile.read(size)
                answer = hub.answer(request)
                if answer is None:
                    self.close_connection = True
                    return
                content = answer.body
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                    answer.headers.setdefault("Content-Type", "application/json")
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                self.wfile.flush()

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = respond

            def log_message(self, *_) -> None:
                pass

        return Handler


def _guarded(function, store: HubStore, request: Request) -> Answer:
    try:
        return function(store, request)
    except HubError as error:
        headers = {"X-Error-Message": error.message}
        if error.code:
            headers["X-Error-Code"] = error.code
        return Answer(error.status, {"error": error.message}, headers)
