"""The plan of a study: which pairs and captions people see."""

from dataclasses import dataclass
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from idc_eval.prediction import Prediction
from idc_eval.rating.checks import foreign_reference, styled
from idc_eval.rating.questions import Mode
from idc_eval.rating.systems import Systems, digest

_DONORS = 200  # pairs that are searched for a caption that does not fit another pair


class Settings(BaseModel):
    """Settings of a study; the same settings make the same study.

    Attributes:
        mode: `scale` asks for 1 to 5 on each question, `prefer` which of two systems is better.
        num: Maximum number of pairs.
        seed: Seed of the draw of pairs and checks.
        checks: Attention checks, as a fraction of the other items.
        systems: Names of the systems, in the given order, each with a hash of its captions and references.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "scale"
    num: Annotated[int, Field(ge=1)] = 100
    seed: int = 0
    checks: Annotated[float, Field(ge=0, le=1)] = 0.1
    systems: dict[str, str]

    @property
    def study(self) -> str:
        """Return an id of this study that reveals nothing about the systems."""
        return digest(self.model_dump())


class Item(BaseModel):
    """One unit of judgement.

    Attributes:
        id: Reveals nothing about its origin.
        pair: Id of the pair whose images are shown.
        captions: One caption to judge, or two to choose from.
        systems: Under `scale`, all systems with this caption; under `prefer`, the system of each caption. Empty for a
            check.
        accepted: For a check, the right answers to the first question; otherwise empty.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    pair: str
    captions: tuple[str, ...]
    systems: tuple[str, ...] = ()
    accepted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A study without its answers.

    Attributes:
        settings: Settings of the study.
        items: Items in an order that reveals nothing.
        images: Before and after images of each pair, as data URLs.
        predictions: Each system's predictions for the pairs of the study, to score them later.
        files: Path of each system's predictions file, for reference.
        same: Under `prefer`, share of all pairs with equal captions; raters do not see these.
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
        ValueError: There is nothing to rate, images are missing, or no check can be made.
        OSError: An image cannot be read.
    """
    rng = Random(settings.seed)
    prefer = settings.mode == "prefer"
    if prefer and len(systems.names) != 2:
        raise ValueError(f"--mode prefer needs two systems, {len(systems.names)} given: {', '.join(systems.names)}")
    differ = [pair for pair in systems.pairs if len(set(systems.said(pair).values())) > 1]
    asked = sorted(set(systems.pictured) & set(differ if prefer else systems.pairs))
    if not asked:
        raise ValueError(
            f"{' and '.join(systems.names)} have equal captions for every pair with images: there is nothing to choose"
        )
    chosen = sorted(rng.sample(asked, min(settings.num, len(asked))))
    items = []
    for pair in chosen:
        captions = systems.said(pair)
        if prefer:
            order = rng.sample(systems.names, 2)
            items.append(_item(settings, pair, [captions[name] for name in order], order))
        else:
            # A caption shared by several systems is judged once, for all of them.
            for caption in dict.fromkeys(captions.values()):
                items.append(_item(settings, pair, [caption], [name for name in captions if captions[name] == caption]))
    items += _checks(systems, settings, chosen, rng)
    return Plan(
        settings,
        sorted(items, key=lambda item: item.id),
        {pair: systems.images(pair) for pair in chosen},
        {name: [_without_files(systems.predictions[name][pair]) for pair in chosen] for name in systems.names},
        {name: str(file.resolve()) for name, file in systems.files.items()},
        same=1 - len(differ) / len(systems.pairs) if prefer else 0.0,
    )


def differing(stored: Settings, settings: dict[str, object]) -> str:
    """Describe how given settings differ from those of a stored study; empty if they do not."""
    for name, value in settings.items():
        theirs = getattr(stored, name)
        if name == "systems" and isinstance(value, dict) and list(value.items()) != list(theirs.items()):
            return f"is about {', '.join(theirs)}, but the given {', '.join(value)} differ in names, order or captions"
        if value != theirs:
            return f"has {name} {theirs!r}, but {value!r} was given"
    return ""


def _checks(systems: Systems, settings: Settings, chosen: list[str], rng: Random) -> list[Item]:
    """Make items with a known answer: a reference of a very different pair is wrong."""
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
        raise ValueError("no attention check can be made: the references of all pairs are too similar; use --checks 0")
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
