"""Chat completions over HTTP, as OpenAI's servers and those that speak their protocol give them.

The key goes to the one address that the recipe names: a redirect is not followed. It is taken out
of whatever a server says before anybody reads that.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from retain.errors import TaskError
from retain.evaluate.judge import KEY_VARIABLE
from retain.evaluate.judge.prompts import Messages

TIMEOUT_SECONDS = 120.0
NUM_ATTEMPTS = 5
MOST_WAIT_SECONDS = 60.0
MOST_BYTES = 4_000_000
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may do: the server is full, or was just then not there."""
EXCERPT_CHARACTERS = 200
HERE = ("localhost", "127.0.0.1", "::1")


class _NoRedirect(HTTPRedirectHandler):
    """An answer that points elsewhere is an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True)
class Server:
    """A model behind an address.

    Attributes:
        address: Up to ``/v1``; ``/chat/completions`` is added.
        model: Its name there.
        options: Further fields of each request.
        key: Sent as a bearer token; empty sends none.
        wait: Waits so many seconds before the next attempt.
    """

    address: str
    model: str
    options: dict[str, Any]
    key: str = field(default="", repr=False)
    wait: Callable[[float], None] = time.sleep

    def answer(self, messages: Messages) -> str:
        """What the model says; empty where it says nothing.

        Raises:
            TaskError: If the server cannot be reached, refuses, is busy for too long, or does not
                speak the protocol; says which and what to do.
        """
        fault, asked = "", None
        for attempt in range(NUM_ATTEMPTS):
            if attempt:
                self.wait(self._pause(attempt, asked))
            asked = None
            try:
                return self._text(self._post(messages))
            except HTTPError as error:
                with error:
                    fault, asked = self._of_status(error), _asked_wait(error)
            except (URLError, OSError, HTTPException) as error:
                reason = getattr(error, "reason", error)
                fault = f"cannot be reached ({one_line(str(reason) or type(reason).__name__)})"
            except ValueError as error:
                fault = f"does not answer as chat completions do: {error}"
        raise self._error(
            f"{fault}, in {NUM_ATTEMPTS} attempts. What is judged is kept: see that the server "
            "runs and speaks OpenAI's protocol (evaluate.judge.address), and run again"
        )

    def _post(self, messages: Messages) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        body = {"model": self.model, "messages": messages, **self.options}
        request = Request(
            f"{self.address.rstrip('/')}/chat/completions",
            data=json.dumps(body).encode(),
            headers=headers,
            method="POST",
        )
        opener = build_opener(_NoRedirect, *self._past_proxies())
        with opener.open(request, timeout=TIMEOUT_SECONDS) as reply:
            content: bytes = reply.read(MOST_BYTES)
        return content

    def _past_proxies(self) -> list[ProxyHandler]:
        """A server on this machine is not asked for through a proxy; others as usual."""
        return [ProxyHandler({})] if urlsplit(self.address).hostname in HERE else []

    def _text(self, content: bytes) -> str:
        """The message in an answer.

        Raises:
            ValueError: If there is none; shows the start of what came.
        """
        shown = self._shown(content)
        try:
            found = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise ValueError(f"no choices[0].message.content in '{shown}'") from error
        if found is not None and not isinstance(found, str):
            raise ValueError(f"message.content is no text in '{shown}'")
        return found or ""

    def _of_status(self, error: HTTPError) -> str:
        """What a status that may pass means.

        Raises:
            TaskError: If trying again is no use.
        """
        body = self._shown(_body(error))
        said = f"{error.code} {error.reason}: '{body}'"
        if error.code in BUSY:
            return f"answers {said}"
        if error.code in (401, 403):
            has = "the key it was given" if self.key else "a request without a key"
            raise self._error(
                f"refuses {has} ({error.code}); set the environment variable {KEY_VARIABLE} to a "
                "key of this server"
            )
        if error.code == 404:
            raise self._error(
                f"does not know the model or the path (404): '{body}'; "
                "evaluate.judge.address ends before /chat/completions, most often in /v1"
            )
        if 300 <= error.code < 400:
            raise self._error(
                f"points elsewhere ({error.code}, '{self._shown(_place(error))}'), where the key "
                "is not sent; give that address if it is the right one"
            )
        raise self._error(f"refuses the request: {said}; see evaluate.judge.options")

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before an attempt: what the server asks for, else 1, 2, 4, 8."""
        if asked is not None and asked > MOST_WAIT_SECONDS:
            raise self._error(
                f"is busy and asks to wait {asked:.0f} s. What is judged is kept: run again then, "
                "or lower evaluate.judge.at_once"
            )
        return float(2 ** (attempt - 1)) if asked is None else asked

    def _shown(self, content: bytes) -> str:
        text = content[: 8 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
        return one_line(text.replace(self.key, "[key]") if self.key else text)

    def _error(self, text: str) -> TaskError:
        return TaskError(f"judge '{self.model}' at {self.address}: {text}")


def _asked_wait(error: HTTPError) -> float | None:
    """Seconds of a ``Retry-After``, which may be a date; None without one."""
    given = (error.headers.get("Retry-After") or "").strip()
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(given)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _body(error: HTTPError) -> bytes:
    try:
        return error.read(MOST_BYTES)
    except (OSError, HTTPException):
        return b""


def _place(error: HTTPError) -> bytes:
    return str(error.headers.get("Location") or "").encode()


def one_line(text: str) -> str:
    """Printable characters alone: what a server sends is hostile."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line[:EXCERPT_CHARACTERS] + "…" * (len(line) > EXCERPT_CHARACTERS)
