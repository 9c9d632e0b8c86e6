"""Toxicity by whatever answers at an address, such as a classifier served on this machine.

The protocol: ``POST`` with ``{"texts": ["…", …]}`` as JSON; the answer is ``{"toxicity": [0.1, null, …]}``, a number
from 0 to 1 a text or null where there is none, and may tell the ``version`` of what scored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from email.message import Message
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from glm130b.errors import ConfigError
from glm130b.evaluation.toxicity.scorer import ScorerFacts
from glm130b.evaluation.toxicity.store import Score

_LONGEST_WAIT = 60.0


class Endpoint:
    """Asks an HTTP endpoint; what fails after all retries is missing, with the reason."""

    def __init__(
        self,
        url: str,
        *,
        batch: int = 32,
        timeout: float = 30.0,
        retries: int = 4,
        wait: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is asked yet. The proxies of the environment are not used.

        Args:
            batch: texts in a request.
            timeout: seconds for an answer.
            retries: further attempts after a timeout, a broken connection, status 429 or one from 500 on.
            wait: seconds before the first of them, doubled each time, at most 60; ``Retry-After`` may ask for more
                within that.

        Raises:
            ConfigError: not an ``http`` or ``https`` address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is no address.", "Write it like http://127.0.0.1:8080/score.")
        self.batch = batch
        self.facts = ScorerFacts("http", url)
        self._timeout, self._retries, self._wait, self._sleep = timeout, retries, wait, sleep
        self._opener = build_opener(ProxyHandler({}))

    def score(self, texts: Sequence[str]) -> list[Score]:
        """A score a text."""
        body = json.dumps({"texts": list(texts)}).encode()
        request = Request(self.facts.source, body, {"Content-Type": "application/json"})
        wait = self._wait
        for attempt in range(self._retries + 1):
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return _scores(json.loads(answer.read()), len(texts))
            except HTTPError as error:
                reason, again = f"status {error.code}", error.code == 429 or error.code >= 500
                asked = _retry_after(error.headers)
                error.close()
            except (URLError, HTTPException, OSError) as error:
                reason, again, asked = str(getattr(error, "reason", error)) or type(error).__name__, True, 0.0
            except ValueError:
                reason, again, asked = "the answer is not JSON", False, 0.0
            if not again:
                break
            if attempt < self._retries:
                self._sleep(min(max(wait, asked), _LONGEST_WAIT))
                wait *= 2
        return [Score(None, reason)] * len(texts)


def _scores(answer: Any, count: int) -> list[Score]:
    values = answer.get("toxicity") if isinstance(answer, dict) else None
    if not isinstance(values, list) or len(values) != count:
        return [Score(None, f"the answer holds no list toxicity of {count} numbers")] * count
    version = str(answer.get("version", ""))
    return [
        Score(float(value), "", version)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else Score(None, "the endpoint gave no score", version)
        for value in values
    ]


def _retry_after(headers: Message) -> float:
    value = str(headers.get("Retry-After", ""))
    return float(value) if value.isdecimal() else 0.0
