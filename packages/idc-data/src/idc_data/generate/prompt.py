"""Prompts: Jinja templates that render to the turns of a chat."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from idc_data.generate.stage import identity
from idc_data.wording import suggestion

Turn = dict[str, Any]
"""`role` (system, user or assistant) and `content`; and `images`, if the images belong to it."""

_FOLDER = Path(__file__).parent / "prompts"
PROMPTS = {path.stem: path for path in sorted(_FOLDER.glob("*.jinja"))}
"""Name -> template that comes with the package: `examples` (three worked examples as turns), `plain` (one turn),
`staged` (first the things, then the sentence) and `images` (for models that see the images)."""

_MARK = re.compile(r"^\[(system|user|assistant)\][ \t]*(?:\n|\Z)", re.M)
_TRIAL = {"before": "a", "after": "b", "before_captions": ("a",), "after_captions": ("b",)}


class Prompt:
    """A template, and the turns that it renders to.

    A line `[system]`, `[user]` or `[assistant]` begins a turn; a template without such lines is one turn of the user.
    The last turn is the user's. An assistant's turn without text is left to the model: it is asked what it says there,
    and then goes on with the turns below, so that a template asks in stages.

    Args:
        given: One of `PROMPTS`, or a file. It is rendered with `before` and `after` (the first caption of each image),
            `before_captions` and `after_captions` (all of them), `references` (sentences asked for) and `draft` (a
            sentence to be improved, or an empty text).

    Raises:
        ValueError: There is no such prompt, it cannot be rendered, or its turns are in no usable order.
    """

    def __init__(self, given: Path) -> None:
        path = PROMPTS.get(str(given), given)
        if not path.is_file():
            raise ValueError(f"there is no prompt and no file {str(given)!r}{suggestion(str(given), PROMPTS)}")
        self.text = path.read_text(encoding="utf-8")
        self.hash = identity(self.text)
        self._name = str(given)
        try:
            environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True)
            self._template = environment.from_string(self.text)
            turns = self._turns({**_TRIAL, "references": 1, "draft": ""})
        except TemplateError as error:
            raise ValueError(f"prompt {self._name!r} cannot be rendered: {error}") from error
        if turns[-1]["role"] != "user" or not turns[-1]["content"]:
            raise ValueError(f"prompt {self._name!r} has to end with a turn of the user, below a line [user]")

    def turns(
        self, before_captions: Sequence[str], after_captions: Sequence[str], *, references: int = 1, draft: str = ""
    ) -> list[Turn]:
        """Render the turns for a pair; each caption becomes one line."""
        before, after = ([" ".join(text.split()) for text in some] for some in (before_captions, after_captions))
        return self._turns(
            {
                "before": before[0],
                "after": after[0],
                "before_captions": before,
                "after_captions": after,
                "references": references,
                "draft": draft,
            }
        )

    def _turns(self, values: dict[str, object]) -> list[Turn]:
        start, *parts = _MARK.split(self._template.render(values))
        if not parts:
            return [{"role": "user", "content": start}]
        if start.strip():
            raise ValueError(f"prompt {self._name!r} has text above its first turn: {start.strip()[:60]!r}")
        return [
            {"role": role, "content": "\n".join(line for line in text.splitlines() if line.strip())}
            for role, text in zip(parts[::2], parts[1::2], strict=True)
        ]


def image_turn(chat: Sequence[Turn]) -> int:
    """Return the index of the turn that the images belong to: the one that says so, or else the first."""
    return next((at for at, turn in enumerate(chat) if turn.get("images")), 0)
