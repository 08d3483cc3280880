"""The page that raters see: one self-contained HTML file that does not reveal which system wrote a caption."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from idc_eval.prediction import explain
from idc_eval.rating.store import Judgement, Ratings
from idc_eval.rating.systems import digest
from idc_eval.whole import read_text

MAX_IMPORT = 20_000_000
"""Maximum bytes of a file of answers; a thousand items take a hundredth of it."""

_PAGE = Path(__file__).parent / "page.html"


class Answers(BaseModel):
    """A file of answers, as saved by the self-contained page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    judgements: list[Judgement]


def rating_page(ratings: Ratings, *, served: bool) -> str:
    """Make the page.

    Args:
        ratings: The study.
        served: Whether the page sends each answer to its server; otherwise it keeps them in the browser and saves them
            as a file.
    """
    study, images = ratings.settings.study, ratings.images()
    # Ids and order of pairs may reveal what changed, so the page has neither.
    pairs = sorted(images, key=lambda pair: digest([study, pair]))
    place = {pair: at for at, pair in enumerate(pairs)}
    data: dict[str, Any] = {
        "study": study,
        "served": served,
        "questions": [
            {
                "name": question.name,
                "text": question.text,
                "answers": [[*answer] for answer in question.answers.items()],
            }
            for question in ratings.questions.values()
        ],
        "images": [images[pair] for pair in pairs],
        "items": [
            {"id": item.id, "images": place[item.pair], "captions": item.captions} for item in ratings.items.values()
        ],
    }
    # A caption must not close the script element.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE.read_text(encoding="utf-8").replace("/* DATA */ null", text)


def import_answers(ratings: Ratings, file: Path) -> int:
    """Import answers from a file saved by the self-contained page; importing a file twice adds nothing.

    Returns:
        Number of new answers.

    Raises:
        ValueError: The file is not such a file, or belongs to another study; nothing is stored.
        OSError: The file cannot be read.
    """
    if file.stat().st_size > MAX_IMPORT:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes, expected at most {MAX_IMPORT:,}")
    try:
        answers = Answers.model_validate_json(read_text(file))
    except ValidationError as error:
        raise ValueError(f"{file} is not a file saved by the rating page: {explain(error)}") from error
    if answers.study != ratings.settings.study:
        raise ValueError(f"{file} belongs to another study than {ratings.path}")
    try:
        return ratings.add(answers.judgements)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
