"""A chat-completions server on this machine, for tests of who speaks to one."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Gives the replies its server was made with, then what its judge says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            scripted = self.server.scripted.pop(0) if self.server.scripted else None
        if scripted is None:
            said = self.server.judge(body["messages"])
            message = {"role": "assistant", "content": said}
            scripted = (200, {}, json.dumps({"choices": [{"index": 0, "message": message}]}))
        status, headers, text = scripted
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def serving(judge=lambda messages: "Verdict: tie", scripted=()):
    """A running server; ``address``, and ``seen`` with path, headers and body of each request.

    Args:
        judge: What is said to some messages.
        scripted: Status, headers and body of the first replies, in place of what the judge says.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock, server.seen, server.scripted = threading.Lock(), [], list(scripted)
    server.judge = judge
    server.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
