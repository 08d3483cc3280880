"""A language model behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, or a hosted one."""

import base64
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any

import httpx2 as httpx
from PIL import Image
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from idc_data.generate.ask import Question, Said

_LOGGER = logging.getLogger(__name__)
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_OF_THE_SETTINGS = frozenset({401, 403, 404, 405})
_LONGEST_WAIT = 60.0
REFUSED = "the endpoint refused this question: "
"""What the answer to a question begins with that the endpoint will not take."""


class _AskAgain(Exception):
    """The endpoint could not answer now; it may say after how many seconds it can."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Endpoint:
    """Chat completions over HTTP: several at a time, not too many per minute, and again after what passes.

    Too many requests (429), errors of the server (5xx), timeouts, cut connections and bodies that make no sense
    are asked again, later and later, or when the server says. A question that it does not take (another 4xx) is
    answered by `REFUSED` and the reason; if it takes none at all, the settings are at fault and it is an error.

    Args:
        model: Its name at the endpoint.
        url: Up to and with `/v1`.
        key_variable: The environment variable that holds the key; a local server needs none.
        concurrency: Requests at a time.
        requests_per_minute: Most of them; null for no limit.
        timeout: Seconds that an answer may take.
        retries: How often a question is asked again.
        max_new_tokens: Most tokens of an answer.
        temperature: 0 for the likeliest answer.
        seed: Sent along; servers that know it then answer the same again.
        schema: Of the answer, sent as `response_format`; None sends none.
        prices: Cost of a million tokens read, and of a million written.
    """

    in_process = True

    def __init__(
        self,
        *,
        model: str,
        url: str = "http://127.0.0.1:8000/v1",
        key_variable: str = "OPENAI_API_KEY",
        concurrency: PositiveInt = 8,
        requests_per_minute: PositiveFloat | None = None,
        timeout: PositiveFloat = 120.0,
        retries: NonNegativeInt = 6,
        max_new_tokens: PositiveInt = 200,
        temperature: NonNegativeFloat = 0.0,
        seed: int = 0,
        schema: dict[str, Any] | None = None,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._sent: dict[str, Any] = {
            "model": model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if schema:
            described = {"name": "difference", "schema": schema, "strict": True}
            self._sent["response_format"] = {"type": "json_schema", "json_schema": described}
        self.identity = {"url": url, **self._sent}
        self.batch_size, self.prices = 16 * concurrency, prices
        self._url, self._key_variable = f"{url.rstrip('/')}/chat/completions", key_variable
        self._concurrency, self._timeout, self._retries = concurrency, timeout, retries
        self._pace = _Pace(60 / requests_per_minute if requests_per_minute else 0.0)
        self._one_answered = False

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Gives every answer as soon as it has come.

        Raises:
            ValueError: The endpoint cannot be reached, wants another key, or does not know the model; what was
                answered until then has been given.
        """
        key = os.environ.get(self._key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            _client(headers=headers, timeout=self._timeout) as client,
            ThreadPoolExecutor(self._concurrency) as pool,
        ):
            asked = {pool.submit(self._answer, client, question): at for at, question in enumerate(questions)}
            problem: BaseException | None = None
            refused: list[tuple[int, Said]] = []
            for done in as_completed(asked):
                if done.cancelled():
                    continue
                if (
                    problem := problem or done.exception()
                ):  # those under way are waited for: nothing that was said is lost
                    for waiting in asked:
                        waiting.cancel()
                    if done.exception():
                        continue
                answer = (asked[done], done.result())
                if done.result().text.startswith(REFUSED) and not self._one_answered:
                    refused.append(answer)
                    continue
                self._one_answered = True
                yield [answer, *refused]
                refused = []
            if problem:
                raise problem
            if refused:
                raise ValueError(
                    f"{self._url} took none of {len(refused)} questions: {refused[0][1].text.removeprefix(REFUSED)}"
                )

    def _answer(self, client: httpx.Client, question: Question) -> Said:
        again = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            retry=retry_if_exception_type(_AskAgain),
            wait=_wait,
            reraise=True,
            before_sleep=lambda state: _LOGGER.info("attempt %d: %s", state.attempt_number, state.outcome),
        )
        try:
            return again(self._once, client, {**self._sent, "messages": _messages(question)})
        except _AskAgain as error:
            raise ValueError(
                f"{self._url} gave no answer in {self._retries + 1} attempts, the last: {error}; "
                "what it said before is kept: start again to go on"
            ) from error

    def _once(self, client: httpx.Client, body: dict[str, Any]) -> Said:
        self._pace.wait()
        try:
            response = client.post(self._url, json=body)
        except httpx.TransportError as error:
            raise _AskAgain(f"{type(error).__name__}: {error}") from error
        if response.status_code in _AGAIN:
            raise _AskAgain(f"HTTP {response.status_code}", _seconds(response.headers.get("Retry-After")))
        if response.status_code in _OF_THE_SETTINGS:
            key = f"; the key is that of the environment variable {self._key_variable}"
            raise ValueError(
                f"{self._url}: HTTP {response.status_code}: {response.text[:200]}"
                + (key if response.status_code in (401, 403) else "")
            )
        if response.is_error:
            return Said(f"{REFUSED}HTTP {response.status_code}: {response.text[:200]}")
        try:
            whole = response.json()
            usage = whole.get("usage") or {}
            text = whole["choices"][0]["message"]["content"] or ""
            return Said(text.strip(), usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _AskAgain(f"no chat completion: {response.text[:200]!r}") from error


class _Pace:
    """Lets callers through one by one, so many seconds apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next, self._lock = seconds, 0.0, threading.Lock()

    def wait(self) -> None:
        """Come back when it is the caller's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._seconds
        time.sleep(turn - now)


RETRY_WAIT = wait_exponential_jitter(initial=1, max=_LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _AskAgain) else None
    return RETRY_WAIT(state) if after is None else min(after, _LONGEST_WAIT)


def _seconds(retry_after: str | None) -> float | None:
    """What the header Retry-After says: seconds, or a date."""
    if not retry_after:
        return None
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _messages(question: Question) -> list[dict[str, Any]]:
    first, *others = question.content["chat"]
    if not question.files:
        return [first, *others]
    images = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images()]
    return [{**first, "content": [*images, {"type": "text", "text": first["content"]}]}, *others]


def _data_url(image: Image.Image) -> str:
    data = BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def _client(**settings: Any) -> httpx.Client:
    """Make a client that asks other machines through the proxy of the environment, if it has one."""
    here = ("127.0.0.1", "localhost", "[::1]")
    try:
        return httpx.Client(mounts={f"all://{host}": None for host in here}, **settings)
    except ImportError as error:
        raise ValueError(
            "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is a SOCKS proxy: `uv pip install socksio`, or name one "
            "that begins with http://"
        ) from error
