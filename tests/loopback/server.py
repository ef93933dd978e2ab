"""The platform's REST interface over HTTP on the loopback interface.

The account service, the search for instances and the catalogue are here too: the client finds them
through its own environment variables. No token is ever stored or printed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qiskit_ibm_runtime import QiskitRuntimeService

from loopback.answers import CRN, OTHER_CRN, Answer, Answers
from loopback.cloud import Cloud
from loopback.faults import Change, Cut, Drop, EndJob, Fault, FaultPlan, Garble, Reply, Slow

API_KEY = "loopback-api-key-not-a-secret"
_API = "/experimental"
#: How long a stalled upload waits at most.
_UPLOAD_SECONDS = 60.0

_ROUTES: tuple[tuple[str, str, str], ...] = (  # method, path, kind
    ("POST", "/identity/token", "token"),
    ("POST", "/v3/resources/search", "search"),
    ("GET", "/plan-loopback", "catalog"),
    ("GET", f"{_API}/backends", "backends"),
    ("GET", f"{_API}/backends/([^/]+)/configuration", "configuration"),
    ("GET", f"{_API}/backends/([^/]+)/properties", "properties"),
    ("GET", f"{_API}/backends/([^/]+)/status", "backend_status"),
    ("GET", f"{_API}/instances/usage", "usage"),
    ("POST", f"{_API}/jobs", "submit"),
    ("GET", f"{_API}/jobs", "jobs"),
    ("GET", f"{_API}/jobs/([^/]+)", "job"),
    ("DELETE", f"{_API}/jobs/([^/]+)", "delete"),
    ("GET", f"{_API}/jobs/([^/]+)/results", "result"),
    ("GET", f"{_API}/jobs/([^/]+)/metrics", "metrics"),
    ("GET", f"{_API}/jobs/([^/]+)/logs", "logs"),
    ("POST", f"{_API}/jobs/([^/]+)/cancel", "cancel"),
    ("PUT", f"{_API}/jobs/([^/]+)/tags", "tags"),
    ("POST", f"{_API}/sessions", "session_open"),
    ("GET", f"{_API}/sessions/([^/]+)", "session"),
    ("PATCH", f"{_API}/sessions/([^/]+)", "session_close"),
    ("DELETE", f"{_API}/sessions/([^/]+)/close", "session_close"),
)


class Loopback:
    """The running double. Use it as a context manager.

    Args:
        cloud: What the platform knows.
        faults: What goes wrong.
        token_seconds: Life of an access token; negative for tokens that are expired at birth, so
            that the client asks for one before each request.
        other: What the platform knows in another instance.
    """

    def __init__(
        self,
        cloud: Cloud,
        faults: FaultPlan | None = None,
        *,
        token_seconds: int = 3600,
        other: Cloud | None = None,
    ) -> None:
        self.cloud = cloud
        self.other = other
        self.faults = faults or FaultPlan()
        self.answers = Answers(cloud, token_seconds)
        self._others = Answers(other or cloud, token_seconds)
        self.raw_key_requests = 0
        self.revoked = False
        loopback = self

        class Handler(_Handler):
            owner = loopback

        self._http = _Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=10)
        self.cloud.stop()
        if self.other is not None:
            self.other.stop()

    def answers_for(self, crn: str | None) -> Answers:
        """Return what answers in the instance of a request."""
        return self._others if crn == OTHER_CRN else self.answers

    def environment(self) -> dict[str, str]:
        """Return the variables through which the client finds its account services here."""
        return {
            "IAM_URL": self.url,
            "GLOBAL_SEARCH_URL": self.url,
            "GLOBAL_CATALOG_URL": self.url,
            "QHEAD_LOOPBACK_URL": self.url + _API,
        }

    @contextmanager
    def addresses(self) -> Iterator[None]:
        """Let the client find its account services here."""
        before = {name: os.environ.get(name) for name in self.environment()}
        os.environ.update(self.environment())
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def account(self, crn: str = CRN) -> dict[str, str]:
        """Return the client's arguments for an instance of an account on this double."""
        return account(self.url + _API, crn)

    def service(self) -> QiskitRuntimeService:
        """Open the unmodified client on this double."""
        with self.addresses():
            return QiskitRuntimeService(**self.account())


class _Http(ThreadingHTTPServer):
    """A server that takes it calmly when a caller was killed."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what breaks here, not what broke over there."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection: find the kind of request, apply its fault, answer."""

    owner: Loopback
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a request's line and headers may hold what must not be seen."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        kind, args = _route(self.command, url.path)
        if kind is None:
            self._send(404, "no such path")
            return
        json_body = raw if "json" in self.headers.get("Content-Type", "") and raw else b"null"
        fault = self.owner.faults.take(kind)
        answers = self.owner.answers_for(self.headers.get("Service-CRN"))
        if kind == "submit":
            answers.cloud.uploading.wait(_UPLOAD_SECONDS)
            time.sleep(answers.cloud.upload_seconds)
        if kind not in ("token", "search", "catalog") and not self._authorised():
            self._send(401, {"errors": [{"code": 1201, "message": "Invalid credentials."}]})
            return
        if isinstance(fault, (Reply, Drop)) and not fault.after:
            self._fail(fault)
            return
        request = (args, parse_qs(url.query), json.loads(json_body))
        if isinstance(fault, EndJob):
            answer = answers.submit(request[2], fault)
        else:
            answer = answers.answer(kind, *request)
        self._respond(answer, fault)

    def _respond(self, answer: Answer, fault: Fault | None) -> None:
        status, body = answer
        if isinstance(fault, (Reply, Drop)):
            self._fail(fault)
        elif isinstance(fault, Garble) and status == 200:
            self._send(200, fault.body, kind=fault.kind)
        elif isinstance(fault, Change) and status == 200:
            changed = fault.edit(json.loads(body) if isinstance(body, str) else body)
            self._send(200, json.dumps(changed))
        elif isinstance(fault, Cut) and status == 200:
            self._break_off(body, fault)
        else:
            self._send(status, body, pause=fault.seconds if isinstance(fault, Slow) else 0.0)

    def _break_off(self, body: Any, fault: Cut) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        part = data[: int(fault.share * len(data))]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(part if fault.lying else data)))
        self.end_headers()
        self.wfile.write(part)
        self.wfile.flush()
        if not fault.lying:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _authorised(self) -> bool:
        header = self.headers.get("Authorization", "")
        if header.lower().startswith("apikey"):
            self.owner.raw_key_requests += 1
        token = header.removeprefix("Bearer ")
        return token in self.owner.answers.tokens and not self.owner.revoked

    def _fail(self, fault: Reply | Drop) -> None:
        if isinstance(fault, Reply):
            self._send(fault.status, fault.body, headers=fault.headers)
            return
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(
        self,
        status: int,
        body: Any,
        headers: tuple[tuple[str, str], ...] = (),
        pause: float = 0.0,
        kind: str = "application/json",
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        try:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if pause:
                self.wfile.flush()
                time.sleep(pause)
            if status != 204:
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):  # the caller was killed or gave up
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


def _route(method: str, path: str) -> tuple[str | None, tuple[str, ...]]:
    for wanted, pattern, kind in _ROUTES:
        if method == wanted and (match := re.fullmatch(pattern, path)):
            return kind, match.groups()
    return None, ()


def account(url: str, crn: str = CRN) -> dict[str, str]:
    """Return the client's arguments for an account on the double at `url`."""
    return {
        "channel": "ibm_quantum_platform",
        "token": API_KEY,
        "instance": crn,
        "url": url,
    }
