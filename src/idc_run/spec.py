"""The spec: one YAML file that determines everything a run computes, validated before anything is created."""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from idc_data.readers import resolve_reader
from idc_data.spec import DataSpec
from idc_data.strict_yaml import apply_override, load_yaml
from idc_data.tokenizers import resolve_tokenizer
from idc_data.wording import faults, suggestion
from idc_eval.metrics import METRICS, metric_names
from idc_eval.protocols import find_protocol
from idc_models.spec import ModelSpec, PartName, complete_objectives
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import to_jsonable_python

from idc_run.space import Space, cells

Direction = Literal["maximize", "minimize"]


class Section(BaseModel):
    """A section of the spec: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimizerSpec(Section):
    """The optimizer."""

    name: Literal["adamw", "adam", "muon"] = "adamw"
    """`muon` updates matrices with orthogonalised steps, and the rest like AdamW at a fifth of the rate."""
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Applied to matrices and kernels only, not to biases and normalisation parameters."""
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = Field(default=1.0, gt=0)
    """Maximum norm of the gradient over all parameters."""
    rates: dict[PartName, Annotated[float, Field(ge=0)]] = {}
    """Part -> factor of its learning rate; default 1; 0 keeps its weights unchanged."""


class ScheduleSpec(Section):
    """The learning rate schedule: a linear warm-up, then one of four shapes."""

    name: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    factor: float = Field(default=0.1, gt=0, lt=1)
    """`step` and `plateau` multiply the rate by this."""
    every_epochs: PositiveInt = 10
    """`step`: number of epochs between reductions."""
    patience: PositiveInt = 2
    """`plateau`: reduce after this many epochs without a better validation score."""


class ScheduledSamplingSpec(Section):
    """Scheduled sampling (Bengio et al., NeurIPS 2015): the decoder's inputs are increasingly its own predictions."""

    increase: float = Field(default=0.05, gt=0, le=1)
    """Increase of the share of sampled words, starting from 0."""
    every_epochs: PositiveInt = 5
    """Number of epochs between increases."""
    most: float = Field(default=0.25, gt=0, le=1)
    """Maximum share."""

    def share(self, epoch: int) -> float:
        """Return the share in an epoch, counted from 0."""
        return min(self.increase * (epoch // self.every_epochs), self.most)


class EarlyStoppingSpec(Section):
    """Early stopping."""

    patience: PositiveInt = 5
    """Stop after this many epochs without a better validation score."""


class StartSpec(Section):
    """A trained model whose weights the run starts from."""

    checkpoint: str
    """A checkpoint, the folder of a run, models:/NAME@ALIAS, or a model that ships with idc-models."""
    parts: tuple[PartName, ...] = Field(default=("encoder", "fusion", "decoder"), min_length=1)
    """Parts to load; the decoder brings its tokenizer."""


class TrainSpec(Section):
    """How the model is trained."""

    epochs: PositiveInt = 10
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    objectives: dict[str, float | dict[str, Any]] = {"caption": 1.0}
    """Name -> weight, or name -> {weight, settings}."""
    start: Annotated[
        StartSpec | None, BeforeValidator(lambda given: {"checkpoint": given} if isinstance(given, str) else given)
    ] = None
    """Weights to start from instead of random ones."""
    scheduled_sampling: ScheduledSamplingSpec | None = None
    """Default: the decoder's inputs are the words of the references only."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, such as 0.999; the average is validated, kept and
    tested."""
    early_stopping: EarlyStoppingSpec | None = EarlyStoppingSpec()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: Literal["auto", "off"] = "auto"
    """`auto`: bfloat16 on CUDA; on a CPU it is slower than float32, so it stays off."""
    threads: PositiveInt | None = None
    """CPU threads of the model; default: PyTorch's, which is one per core, or one under torchrun."""
    log_every: PositiveInt = 20
    """Steps between logged training losses."""
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints to resume from; there is also one after every epoch."""
    keep_last: PositiveInt = 2
    """Number of checkpoints to resume from; if the newest is damaged, an older one is used."""

    @model_validator(mode="after")
    def _objectives_known(self) -> "TrainSpec":
        complete_objectives(self.objectives)
        return self


class EvalSpec(Section):
    """How captions are decoded and scored, in validation and test."""

    protocol: str = "plain"
    """The evaluation protocol: a name that `idc-eval protocols` lists, or plain/NAME for your own data.
    For captions in Chinese, Japanese, Thai and similar scripts: plain/characters."""
    no_change: tuple[str, ...] = ()
    """Sentences, or parts of sentences, that mean "nothing changed" in captions in other languages than English; used
    to count false alarms and misses. Default: those in the `no_change.txt` of the dataset's folder."""
    metrics: tuple[str, ...] = ("bleu", "meteor", "rouge-l", "cider")
    select: str = "cider"
    """The validation metric for checkpoint selection, early stopping and the champion."""
    beam: PositiveInt = 1
    length_penalty: float = Field(default=0.0, ge=0)
    no_repeat_ngram: int = Field(default=0, ge=0, le=20)
    """No caption repeats an n-gram of this many tokens; 0 allows repeats, as published scores do."""
    batch_size: PositiveInt = 100
    examples: int = Field(default=6, ge=0, le=8)
    """Number of validation pairs that the checkpoint stores as example images for the page; 0 for confidential data."""

    @model_validator(mode="after")
    def _metrics_known(self) -> "EvalSpec":
        find_protocol(self.protocol)
        metric_names((*self.metrics, self.select))
        if self.select not in METRICS or METRICS[self.select].lower_is_better:
            raise ValueError(f"select is {self.select!r}; expected one metric that is better when higher, as 'cider'")
        return self


class RegisterSpec(Section):
    """The name under which the best checkpoint is registered."""

    model: str = Field(default="idc", pattern=r"^[A-Za-z0-9_.-]+$")


class SweepSpec(Section):
    """A search over specs: trials are validated; the best one is trained again and tested."""

    space: Space
    """Dotted path -> [values], {choices: [...]}, or {low, high, log, step}; `when` adds a condition."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """`grid` runs every combination."""
    pruner: Literal["median", "none"] = "median"
    """`median` stops a trial that is worse than the median of the others at the same epoch."""
    trials: PositiveInt = 20
    """Number of trials; ignored for a grid, which runs all combinations."""
    timeout: PositiveInt | None = None
    """Seconds after which no process starts another trial. Run the command again to continue."""
    objectives: dict[str, Direction] = {}
    """Validation metrics and `latency` (milliseconds per pair, one at a time); default: eval.select. With several there
    is a Pareto front and no pruning; the first one chooses the best trial."""
    seeds: NonNegativeInt = 3
    """Train the best trial again with this many seeds, test and register it; with 0, every trial is tested itself."""
    storage: str | None = None
    """An Optuna storage URL for several machines; default: a journal file in mlruns/."""

    @model_validator(mode="after")
    def _grid_is_finite(self) -> "SweepSpec":
        if self.sampler == "grid":
            list(cells(self.space))
        return self


class Spec(Section):
    """One experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = Field(default=0, ge=0)
    data: DataSpec = DataSpec()
    model: ModelSpec
    train: TrainSpec = TrainSpec()
    eval: EvalSpec = EvalSpec()
    register_: Annotated[
        RegisterSpec | None, BeforeValidator(lambda given: {"model": given} if isinstance(given, str) else given)
    ] = Field(default=None, alias="register")
    tracking: Literal["mlflow", "off"] = "mlflow"
    sweep: SweepSpec | None = Field(default=None, exclude=True)
    """The search over this spec; not part of a single experiment."""

    def completed(self) -> dict[str, Any]:
        """Return the spec as plain values with all defaults written out, as MLflow and checkpoints store it."""
        plain = self.model_dump(mode="json", by_alias=True)
        key = json.dumps(plain)
        if key not in self._completed:
            plain["data"]["dataset"] = _completed_dataset(self.data)
            plain["data"]["tokenizer"] = _completed_tokenizer(self.data)
            plain["model"] = self.model.completed().model_dump(mode="json")
            plain["train"]["objectives"] = complete_objectives(self.train.objectives)
            self._completed[key] = plain
        return deepcopy(self._completed[key])

    @cached_property
    def _completed(self) -> dict[str, dict[str, Any]]:
        """A cache of completed specs by their plain values, because completing looks up plugins in all distributions.

        Copies of the spec share this cache whatever they change; hence the keys.
        """
        return {}

    def fingerprint(self) -> str:
        """Return a hash of the completed spec, 12 hex digits."""
        return hashlib.sha256(json.dumps(self.completed(), sort_keys=True).encode()).hexdigest()[:12]


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Read a spec, apply `dotted.path=value` overrides (values are YAML), and validate it.

    Raises:
        ValueError: The file is not YAML, a key is duplicate or unknown, or a value is invalid; a one-line message.
        OSError: The file cannot be read.
    """
    return make_spec(load_values(path, overrides), str(path))


def load_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a spec's plain values and apply overrides, without validating them (see `make_spec`).

    Raises:
        ValueError: The file is not YAML or has no sections, or an override is malformed.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        folder = path if path.is_dir() else path.parent
        here = sorted(str(found) for found in folder.glob("*.yaml")) if folder.is_dir() else []
        raise ValueError(f"no spec at {str(path)!r}{suggestion(str(path), here)}")
    values = load_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected sections such as name, data, model, train, eval; got {values!r}")
    for override in overrides:
        apply_override(values, override)
    return values


def make_spec(values: dict[str, Any], source: str = "spec") -> Spec:
    """Validate plain values; errors begin with `source`."""
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{source}: {faults(error, Spec)}") from error


def _completed_dataset(data: DataSpec) -> dict[str, Any]:
    """Return the dataset with all of its settings; a dataset that renders uses the model's image size."""
    given = {"name": data.dataset} if isinstance(data.dataset, str) else dict(data.dataset)
    _, settings = resolve_reader(data.dataset)
    if "image_size" in settings and "image_size" not in given:
        settings["image_size"] = data.image_size
    return {"name": given["name"], **to_jsonable_python(settings)}


def _completed_tokenizer(data: DataSpec) -> dict[str, Any]:
    _, settings = resolve_tokenizer(data.tokenizer)
    name = data.tokenizer if isinstance(data.tokenizer, str) else data.tokenizer["name"]
    return {"name": name, **to_jsonable_python(settings)}
