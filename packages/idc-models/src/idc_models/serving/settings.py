"""The table of decoding settings, from which requests, commands and the page are built."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A decoding setting.

    Attributes:
        name: Its name in REST, `PairCaptioner.caption` and MLflow's params; options of commands write `-` for `_`.
        kind: The type of its value.
        default: Its default; None if the model determines it (from its test or its training data).
        help: What it does, in one sentence.
        least: The smallest value; None for a switch.
        most: The largest value; None for a switch.
        label: Its label on the page; empty if the page has no field for it.
    """

    name: str
    kind: type[int] | type[float] | type[bool]
    default: int | float | bool | None
    help: str
    least: int | float | None = None
    most: int | float | None = None
    label: str = ""

    def allows(self, value: float) -> bool:
        """Return whether a value is within the range; a switch has no range."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


_TABLE = (
    Setting("beam", int, None, "Beam size; by default the one that the model was tested with.", 1, 10, "Beam"),
    Setting("max_length", int, None, "Maximum number of tokens of a caption.", 1, 200, "Most tokens"),
    Setting("num_captions", int, 1, "Number of captions to return, with their probabilities.", 1, 10, "Captions"),
    Setting(
        "sample", bool, False, "Sample captions instead of searching for the best.", label="Draw instead of search"
    ),
    Setting("temperature", float, 1.0, "Sampling temperature.", 0.05, 10.0, "Temperature"),
    Setting("seed", int, 0, "Sampling seed.", 0, 2**63 - 1, "Seed"),
    Setting(
        "no_repeat",
        int,
        None,
        "Never repeat this many tokens in a row within a caption; by default the smallest number that references "
        "hardly ever repeat; 0 allows repeats.",
        0,
        20,
        "No repeats",
    ),
    Setting("align", bool, False, "Align AFTER with BEFORE first, for photos taken from different positions."),
    Setting("change_map", bool, False, "Return an image of where the model sees the change."),
)

SETTINGS = {setting.name: setting for setting in _TABLE}

KINDS = {setting.name: setting.kind for setting in _TABLE}
"""Setting -> type, for the guard."""


@dataclass(frozen=True)
class Decoding:
    """Decoding settings of a request; pairs with equal settings may share a batch.

    Attributes:
        beam: Beam size; None means the one that the model was tested with.
        max_length: Maximum number of tokens of a caption; None means the tokenizer's limit.
        num_captions: Number of captions to return; the beam is at least as large.
        sample: Sample captions instead of searching; the beam is then ignored.
        temperature: Sampling temperature.
        seed: Sampling seed; the samples of a pair do not depend on the other pairs in its batch.
        change_map: Also return where the model sees the change.
        no_repeat: Never repeat n tokens within a caption; 0 allows repeats. None means the value used in the model's
            test, or else the smallest n that its references almost never repeat, if the checkpoint holds it.
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
