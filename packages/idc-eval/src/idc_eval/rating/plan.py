"""The plan of a study: which pairs and captions people see."""

from dataclasses import dataclass
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from idc_eval.prediction import Prediction
from idc_eval.rating.checks import foreign_reference, styled
from idc_eval.rating.questions import Mode
from idc_eval.rating.systems import Systems, digest

_DONORS = 200  # pairs that are looked at for a caption that fits another pair not at all


class Settings(BaseModel):
    """What a study is made from; the same settings make the same study.

    Attributes:
        mode: `scale` asks for 1 to 5 on each question, `prefer` which of two systems is better.
        num: Most pairs.
        seed: Of the draw of pairs and checks.
        checks: Attention checks, as a part of the number of other items.
        systems: The name of each system, in the order given, and a hash of its captions and references.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "scale"
    num: Annotated[int, Field(ge=1)] = 100
    seed: int = 0
    checks: Annotated[float, Field(ge=0, le=1)] = 0.1
    systems: dict[str, str]

    @property
    def study(self) -> str:
        """What tells this study from others; says nothing of the systems."""
        return digest(self.model_dump())


class Item(BaseModel):
    """What a rater judges at a time.

    Attributes:
        id: Says nothing of where it comes from.
        pair: Whose images are shown.
        captions: One to judge, or two to choose from.
        systems: Under `scale`, all that gave the caption; under `prefer`, whose each caption is. None for a check.
        accepted: The right answers to the first question, for a check; otherwise nothing.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    pair: str
    captions: tuple[str, ...]
    systems: tuple[str, ...] = ()
    accepted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of a study but the answers.

    Attributes:
        settings: What it was made from.
        items: In an order that says nothing.
        images: Before and after of each pair, as data URLs.
        predictions: Of each system for the pairs of the study, to score them later.
        files: The predictions file of each system, for people who look for it later.
        same: Under `prefer`, the part of all pairs of which both systems say the same; nobody is asked about these.
    """

    settings: Settings
    items: list[Item]
    images: dict[str, tuple[str, str]]
    predictions: dict[str, list[Prediction]]
    files: dict[str, str]
    same: float = 0.0


def make_plan(systems: Systems, settings: Settings) -> Plan:
    """Draw pairs, and make the items and the checks.

    Raises:
        ValueError: There is nothing to ask, images are missing, or no check can be made.
        OSError: An image cannot be read.
    """
    rng = Random(settings.seed)
    prefer = settings.mode == "prefer"
    if prefer and len(systems.names) != 2:
        raise ValueError(f"--mode prefer needs two systems, {len(systems.names)} given: {', '.join(systems.names)}")
    differ = [pair for pair in systems.pairs if len(set(systems.said(pair).values())) > 1]
    asked = sorted(set(systems.pictured) & set(differ if prefer else systems.pairs))
    if not asked:
        raise ValueError(f"{' and '.join(systems.names)} say the same of every pair with images; nothing is to choose")
    chosen = sorted(rng.sample(asked, min(settings.num, len(asked))))
    items = []
    for pair in chosen:
        said = systems.said(pair)
        if prefer:
            order = rng.sample(systems.names, 2)
            items.append(_item(settings, pair, [said[name] for name in order], order))
        else:
            # A caption that several systems gave is judged once, for all of them.
            for caption in dict.fromkeys(said.values()):
                items.append(_item(settings, pair, [caption], [name for name in said if said[name] == caption]))
    items += _checks(systems, settings, chosen, rng)
    return Plan(
        settings,
        sorted(items, key=lambda item: item.id),
        {pair: systems.images(pair) for pair in chosen},
        {name: [_without_files(systems.predictions[name][pair]) for pair in chosen] for name in systems.names},
        {name: str(file.resolve()) for name, file in systems.files.items()},
        same=1 - len(differ) / len(systems.pairs) if prefer else 0.0,
    )


def differing(stored: Settings, given: dict[str, object]) -> str:
    """What of the given settings is not as in a stored study, in words; nothing if all of them are."""
    for name, value in given.items():
        theirs = getattr(stored, name)
        if name == "systems" and isinstance(value, dict) and list(value.items()) != list(theirs.items()):
            return f"is about {', '.join(theirs)}, and {', '.join(value)} with other names, order or captions was given"
        if value != theirs:
            return f"has {name} {theirs!r}, and {value!r} was given"
    return ""


def _checks(systems: Systems, settings: Settings, chosen: list[str], rng: Random) -> list[Item]:
    """Items that have a known answer: a reference of quite another pair is wrong."""
    wanted = 0
    if settings.checks:
        others = len(chosen) * (1 if settings.mode == "prefer" else len(systems.names))
        wanted = min(len(chosen), max(1, round(settings.checks * others)))
    captions = [caption for pair in chosen for caption in systems.said(pair).values()]
    donors = list(systems.pairs.values())
    made: list[Item] = []
    for pair in rng.sample(chosen, len(chosen)):
        if len(made) == wanted:
            break
        p = systems.pairs[pair]
        foreign = foreign_reference(p, rng.sample(donors, min(_DONORS, len(donors))))
        if foreign is None:
            continue
        wrong = styled(foreign, captions)
        if settings.mode == "scale":
            made.append(_item(settings, pair, [wrong], accepted=[1, 2]))
        else:
            right = styled(rng.choice(p.references), captions)
            first = rng.random() < 0.5
            made.append(
                _item(settings, pair, [right, wrong] if first else [wrong, right], accepted=[-1 if first else 1])
            )
    if wanted and not made:
        raise ValueError("no attention check can be made: the references of all pairs are too alike; give --checks 0")
    return made


def _item(
    settings: Settings,
    pair: str,
    captions: list[str],
    systems: list[str] | None = None,
    accepted: list[int] | None = None,
) -> Item:
    name = digest([settings.study, pair, captions, accepted])[:12]
    return Item(
        id=name, pair=pair, captions=tuple(captions), systems=tuple(systems or ()), accepted=tuple(accepted or ())
    )


def _without_files(p: Prediction) -> Prediction:
    return p.model_copy(update={"before": None, "after": None, "change_map": None})
