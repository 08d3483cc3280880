"""The settings of decoding that a request, a command and the page may give: their one table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A setting of decoding.

    Attributes:
        name: As REST, `PairCaptioner.caption` and MLflow's params have it; a command writes `-` for `_`.
        kind: The type of its value.
        default: What holds where it is not given; None where the model knows (how it was tested, or what it learnt).
        help: What it does, in a sentence.
        least: The smallest value, None for a switch.
        most: The largest.
        label: What the page calls it in its form; empty where it has no field there.
    """

    name: str
    kind: type[int] | type[float] | type[bool]
    default: int | float | bool | None
    help: str
    least: int | float | None = None
    most: int | float | None = None
    label: str = ""

    def allows(self, value: float) -> bool:
        """Whether a value is within the range, as every value of a switch is."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


_TABLE = (
    Setting("beam", int, None, "Hypotheses kept; by default what the model was tested with.", 1, 10, "Beam"),
    Setting("max_length", int, None, "Most tokens of a caption.", 1, 200, "Most tokens"),
    Setting("num_captions", int, 1, "How many captions in all, with their probabilities.", 1, 10, "Captions"),
    Setting(
        "sample", bool, False, "Draw captions instead of searching for the likeliest.", label="Draw instead of search"
    ),
    Setting("temperature", float, 1.0, "Temperature of the draw.", 0.05, 10.0, "Temperature"),
    Setting("seed", int, 0, "Seed of the draw.", 0, 2**63 - 1, "Seed"),
    Setting(
        "no_repeat",
        int,
        None,
        "No caption says the same so many words twice; by default the fewest that references hardly ever repeat; "
        "0 allows repeats.",
        0,
        20,
        "No repeats",
    ),
    Setting("align", bool, False, "Lay AFTER over BEFORE first: photos that were not taken from one place."),
    Setting("change_map", bool, False, "Give an image of where the model looks."),
)

SETTINGS = {setting.name: setting for setting in _TABLE}

KINDS = {setting.name: setting.kind for setting in _TABLE}
"""The type of each, as a guard checks it."""


@dataclass(frozen=True)
class Decoding:
    """How captions are written, and what is told beside them; pairs with equal ones may share a batch.

    Attributes:
        beam: hypotheses kept while decoding; None is what the model was tested with.
        max_length: most tokens of a caption; None is what the model learnt.
        num_captions: how many captions in all; the beam is widened to at least that many.
        sample: draw captions instead of searching for them, the beam then says nothing.
        temperature: of the draw.
        seed: of the draw; a pair is drawn the same captions in any company.
        change_map: tell where the model looks.
        no_repeat: no caption says the same n tokens twice, 0 lets it; None is the smallest n for which the references
            hardly ever do, if the checkpoint tells.
    """

    beam: int | None = None
    max_length: int | None = None
    num_captions: int = 1
    sample: bool = False
    temperature: float = 1.0
    seed: int = 0
    change_map: bool = False
    no_repeat: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not SETTINGS[name].allows(value):
                raise ValueError(f"{name} is {value!r}; expected {SETTINGS[name].least} to {SETTINGS[name].most}")
