"""What is left to ask: numbers of questions, minutes, tokens and cost, before any model is asked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from idc_data.generate.ask import Asker, Asking, Question
from idc_data.generate.caption import Captioner
from idc_data.generate.difference import Captioned, Writer
from idc_data.generate.stage import Rows
from idc_data.wording import counted

_CHARACTERS = 4  # of a token, about, in English


def captions_known(captioner: Captioner, images: Rows, root: Path, asking: Asking) -> bool:
    """Return whether captioning asks no model, since there is none or all answers are stored."""
    return not any(asking.unanswered(asker, questions) for asker, questions in captioner.to_ask(images, root))


def placeholder(number: int) -> str:
    """Return a caption of usual length for an image that has none yet; every image has another one."""
    return f"a photo of one thing next to another thing outside, number {number}"


def estimated(
    captioner: Captioner, writer: Writer, images: Rows, root: Path, pairs: Sequence[Captioned], asking: Asking
) -> Iterator[str]:
    """Yield lines for people: what captions and differences would take, and the first prompt.

    Args:
        captioner: Of the spec.
        writer: Of the spec.
        images: The images to be captioned.
        root: The folder of the images.
        pairs: The pairs, with captions or placeholders.
        asking: Knows what is answered already.
    """
    for stage, asks in (("caption", captioner.to_ask(images, root)), ("difference", writer.to_ask(pairs))):
        for at, (asker, questions) in enumerate(asks):
            repairs = stage == "difference" and at == len(asks) - 1  # earlier stages of a prompt are not repaired
            yield f"{stage:<10} {_estimate(asking, asker, questions, repairs=repairs)}"
        if not asks:
            yield f"{stage:<10} no model"
        elif stage == "difference" and asks[-1][1]:
            yield "the first prompt:\n  | " + _shown(asks[-1][1][0]).replace("\n", "\n  | ")


def _estimate(asking: Asking, asker: Asker, questions: Sequence[Question], *, repairs: bool) -> str:
    left = asking.unanswered(asker, questions)
    num = len(left)
    parts = [counted(num, "question") + (f" and at most {counted(num, 'repair')}" if repairs and num else "")]
    if num < len(questions):
        parts[0] += f", {len(questions) - num:,} more are answered or repeat another"
    if not num:
        return parts[0]
    seen, seconds, read, written = asking.average(asker)
    if seen:
        parts.append(f"about {num * seconds / 60:,.1f} minutes, as fast as the {seen:,} asked before")
    else:
        read = sum(_characters(question) for question in left) / num / _CHARACTERS
        written = _most_written(asker)
        parts.append("minutes are known once some are asked (try `limit`)")
    if read + written:
        cost = num * (read * asker.prices[0] + written * asker.prices[1]) / 1e6
        about = "about" if seen else f"with {_CHARACTERS} characters a token about"
        parts.append(
            f"{about} {num * read:,.0f} tokens to read and {'' if seen else 'at most '}{num * written:,.0f} to write"
            + (f", cost {cost:,.2f}{f' to {2 * cost:,.2f} with all repairs' if repairs else ''}" if cost else "")
        )
    return "; ".join(parts)


def _most_written(asker: Asker) -> int:
    settings: Any = asker.identity if isinstance(asker.identity, dict) else {}
    return settings.get("max_new_tokens") or settings.get("max_tokens") or 0


def _characters(question: Question) -> int:
    turns = question.content.get("chat", ()) if isinstance(question.content, dict) else ()
    return sum(len(turn["content"]) for turn in turns)


def _shown(question: Question) -> str:
    return "\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in question.content["chat"])
