"""A language model behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, or a hosted one."""

import base64
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from io import BytesIO
from typing import Any

import httpx2 as httpx
from PIL import Image
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from idc_data.generate.ask import Question, Said
from idc_data.generate.pace import Pace, seconds_to_wait
from idc_data.generate.prompt import image_turn

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
    """Chat completions over HTTP: several at a time, at a limited rate, with retries.

    Too many requests (429), errors of the server (5xx), timeouts, cut connections and malformed bodies are tried again
    after a growing delay, or after the one that the server names. A question that the server refuses (another 4xx) is
    answered by `REFUSED` and the reason; if it refuses all of them, the settings are at fault and it is an error.

    Args:
        model: Its name at the endpoint.
        url: The address up to and including `/v1`.
        key_variable: The environment variable that holds the key; a local server needs none.
        concurrency: Requests at a time.
        requests_per_minute: Most requests per minute; None for no limit.
        timeout: Seconds that an answer may take.
        retries: How often a failed request is sent again.
        max_new_tokens: Most tokens of an answer.
        stop: Texts that end an answer.
        temperature: 0 for the likeliest answer.
        seed: Sent along; servers that support it then repeat their answers.
        schema: JSON schema of an answer, sent as `response_format`; None sends none. Questions with `"free": True` are
            sent without it.
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
        stop: Sequence[str] = (),
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
        if stop:
            self._sent["stop"] = list(stop)
        if schema:
            described = {"name": "difference", "schema": schema, "strict": True}
            self._sent["response_format"] = {"type": "json_schema", "json_schema": described}
        self.identity = {"url": url, **self._sent}
        self.batch_size, self.prices = 16 * concurrency, prices
        self._url, self._key_variable = f"{url.rstrip('/')}/chat/completions", key_variable
        self._concurrency, self._timeout, self._retries = concurrency, timeout, retries
        self._pace = Pace(60 / requests_per_minute if requests_per_minute else 0.0)
        self._one_answered, self._warned = False, schema is None

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Yield every answer as soon as it comes.

        Raises:
            ValueError: The endpoint cannot be reached, wants another key, or does not have the model; answers that came
                before have been yielded.
        """
        with self._connected() as client, ThreadPoolExecutor(self._concurrency) as pool:
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
                hint = (
                    "; if it does not support this schema: json_schema: false"
                    if "response_format" in self._sent
                    else ""
                )
                reason = refused[0][1].text.removeprefix(REFUSED)
                raise ValueError(f"{self._url} took none of {len(refused)} questions: {reason}{hint}")

    def _answer(self, client: httpx.Client, question: Question) -> Said:
        again = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            retry=retry_if_exception_type(_AskAgain),
            wait=_wait,
            reraise=True,
            before_sleep=lambda state: _LOGGER.info("attempt %d: %s", state.attempt_number, state.outcome),
        )
        try:
            return again(self._once, client, self._body(question))
        except _AskAgain as error:
            raise ValueError(
                f"{self._url} gave no answer in {self._retries + 1} attempts, the last: {error}; "
                "what it said before is kept: start again to go on"
            ) from error

    def check(self) -> None:
        """Check that the endpoint answers, by one question of a few tokens.

        Raises:
            ValueError: It cannot be reached, wants another key, or does not have the model.
        """
        body = {**self._sent, "messages": [{"role": "user", "content": "Reply with OK."}], "max_tokens": 4}
        body.pop("response_format", None)
        with self._connected() as client:
            try:
                answer = self._once(client, body)
            except _AskAgain as error:
                if isinstance(error.__cause__, httpx.ConnectError):
                    raise ValueError(f"{self._url} cannot be reached: {error.__cause__}") from error
                return  # a server that is busy is waited for when it is asked
        if answer.text.startswith(REFUSED):
            raise ValueError(f"{self._url} refused a first question: {answer.text.removeprefix(REFUSED)}")

    def _connected(self) -> httpx.Client:
        key = os.environ.get(self._key_variable)
        return _client(headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=self._timeout)

    def _body(self, question: Question) -> dict[str, Any]:
        body = {**self._sent, "messages": _messages(question)}
        if question.content.get("free"):
            body.pop("response_format", None)
        return body

    def _warn(self, body: dict[str, Any], text: str) -> None:
        """Warn once if an answer does not follow the schema that was sent along."""
        if self._warned or "response_format" not in body:
            return
        schema = body["response_format"]["json_schema"]["schema"]
        try:
            values = json.loads(text)
            follows = isinstance(values, dict) and set(values) == set(schema["required"])
        except ValueError:
            follows = False
        if not follows:
            self._warned = True
            _LOGGER.warning(
                "%s does not follow the JSON schema that it is sent as response_format (it answered %.80r): does the "
                "server support it?",
                self._url,
                text,
            )

    def _once(self, client: httpx.Client, body: dict[str, Any]) -> Said:
        self._pace.wait()
        try:
            response = client.post(self._url, json=body)
        except httpx.TransportError as error:
            raise _AskAgain(f"{type(error).__name__}: {error}") from error
        if response.status_code in _AGAIN:
            raise _AskAgain(f"HTTP {response.status_code}", seconds_to_wait(response.headers.get("Retry-After")))
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
            self._warn(body, text)
            return Said(text.strip(), usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _AskAgain(f"no chat completion: {response.text[:200]!r}") from error


RETRY_WAIT = wait_exponential_jitter(initial=1, max=_LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _AskAgain) else None
    return RETRY_WAIT(state) if after is None else min(after, _LONGEST_WAIT)


def _messages(question: Question) -> list[dict[str, Any]]:
    chat = [{"role": turn["role"], "content": turn["content"]} for turn in question.content["chat"]]
    if question.files:
        images = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images()]
        asked = chat[image_turn(question.content["chat"])]
        asked["content"] = [*images, {"type": "text", "text": asked["content"]}]
    return chat


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
