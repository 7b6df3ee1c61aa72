"""An S3 server on loopback, with faults at its door."""

import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from threading import Thread

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REFUSALS = {
    "500": ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
    "throttled": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    "skew": (
        "403 Forbidden",
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    ),
    "denied": ("403 Forbidden", "AccessDenied", "Access Denied"),
    "wrong": ("403 Forbidden", "SignatureDoesNotMatch", "Not signed by hunter2-secret-key."),
    "full": ("507 Insufficient Storage", "XMinioStorageFull", "Storage backend is full."),
}
SLOW_SECONDS = 0.3


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type, message, *args):
        pass


class Door:
    """What stands before the server.

    Attributes:
        fault: Told method and path, says which fault to answer with; None for none.
        seen: Method and path of every request.
    """

    def __init__(self, app):
        self.app = app
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.seen: list[tuple[str, str]] = []

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.seen.append((method, path))
        fault = self.fault(method, path)
        if fault in REFUSALS:
            return self._refuse(fault, environ, start_response)
        if fault == "cut before":  # the request does not arrive
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            return self._cut(environ)
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        answer = {}

        def keep(status, headers, exc_info=None):
            answer.update(status=status, headers=headers)

        content = b"".join(self.app(environ, keep))
        if fault == "cut":  # it arrived, and the answer does not
            if not content or method != "GET":
                return self._cut(environ)
            start_response(answer["status"], answer["headers"])
            return self._half(content, environ)
        start_response(answer["status"], answer["headers"])
        return [content]

    def _refuse(self, fault, environ, start_response):
        status, code, message = REFUSALS[fault]
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]

    def _half(self, content, environ):
        yield content[: len(content) // 2]
        self._cut(environ)

    def _cut(self, environ):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


@contextmanager
def serving():
    """Yield the door of a running server, and its address."""
    door = Door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=_Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield door, f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
