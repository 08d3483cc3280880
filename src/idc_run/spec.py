"""The spec: one YAML file that says everything a run computes, checked before anything is created."""

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
    """A part of the spec: fixed once made, and without room for misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimizerSpec(Section):
    """How the weights are changed."""

    name: Literal["adamw", "adam", "muon"] = "adamw"
    """`muon` changes matrices by orthogonal steps and the rest as AdamW does, at a fifth of the rate."""
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Matrices and kernels only: biases and normalisation are left alone."""
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest gradient norm, over all parameters."""
    rates: dict[PartName, Annotated[float, Field(ge=0)]] = {}
    """Part -> what its rate is multiplied by; 1 where nothing is said, 0 keeps its weights as they are."""


class ScheduleSpec(Section):
    """How the learning rate goes: a linear warm-up, then one of four ways."""

    name: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    factor: float = Field(default=0.1, gt=0, lt=1)
    """`step` and `plateau` multiply the rate by it."""
    every_epochs: PositiveInt = 10
    """`step`: after so many epochs."""
    patience: PositiveInt = 2
    """`plateau`: after so many epochs without a better validation score."""


class ScheduledSamplingSpec(Section):
    """How many of the words that the decoder hears are its own (Bengio et al., NeurIPS 2015): more and more."""

    increase: float = Field(default=0.05, gt=0, le=1)
    """By how much the share of drawn words rises, from none."""
    every_epochs: PositiveInt = 5
    """After so many epochs each time."""
    most: float = Field(default=0.25, gt=0, le=1)
    """Where it stops."""

    def share(self, epoch: int) -> float:
        """Give the share of an epoch, counted from 0."""
        return min(self.increase * (epoch // self.every_epochs), self.most)


class EarlyStoppingSpec(Section):
    """When to stop before the last epoch."""

    patience: PositiveInt = 5
    """Epochs without a better validation score."""


class StartSpec(Section):
    """A trained model whose weights a run begins with."""

    checkpoint: str
    """A checkpoint, the folder of a run, models:/NAME@ALIAS, or a model that ships with idc-models."""
    parts: tuple[PartName, ...] = Field(default=("encoder", "fusion", "decoder"), min_length=1)
    """What to take of it; with the decoder come its words."""


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
    """What to begin with instead of random weights."""
    scheduled_sampling: ScheduledSamplingSpec | None = None
    """By default the decoder hears the words of the references alone."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep weights that are averaged over the steps with this decay, such as 0.999."""
    early_stopping: EarlyStoppingSpec | None = EarlyStoppingSpec()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: Literal["auto", "off"] = "auto"
    """`auto`: bfloat16 on CUDA; on a CPU it is slower than float32, so it stays off."""
    threads: PositiveInt | None = None
    """CPU threads of the model; by default what PyTorch takes: as many as there are cores, one under torchrun."""
    log_every: PositiveInt = 20
    """Steps between two logged training losses."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints to resume from; there is one after every epoch too."""
    keep_last: PositiveInt = 2
    """Checkpoints to resume from that are kept during training: if the newest is damaged, an older one serves."""

    @model_validator(mode="after")
    def _objectives_known(self) -> "TrainSpec":
        complete_objectives(self.objectives)
        return self


class EvalSpec(Section):
    """How captions are decoded and scored, in validation and test alike."""

    protocol: str = "plain"
    """What is scored and how: a name that `idc-eval protocols` lists, or plain/NAME for data of one's own.
    Captions in Chinese, Japanese, Thai and the like: plain/characters."""
    no_change: tuple[str, ...] = ()
    """Sentences, or parts of some, by which captions in another language than English say that nothing changed: false
    alarms and misses are counted by them. By default what the `no_change.txt` of a dataset's folder lists."""
    metrics: tuple[str, ...] = ("bleu", "meteor", "rouge-l", "cider")
    select: str = "cider"
    """The validation metric that chooses the checkpoint, stops early and moves the champion."""
    beam: PositiveInt = 1
    length_penalty: float = Field(default=0.0, ge=0)
    no_repeat_ngram: int = Field(default=0, ge=0, le=20)
    """No caption says the same so many words (tokens) twice; 0 lets it, as the figures of this field are computed."""
    batch_size: PositiveInt = 100
    examples: int = Field(default=6, ge=0, le=8)
    """Validation pairs that the checkpoint keeps as pictures, for the page that people try the model on; 0 where none
    may leave."""

    @model_validator(mode="after")
    def _metrics_known(self) -> "EvalSpec":
        find_protocol(self.protocol)
        metric_names((*self.metrics, self.select))
        if self.select not in METRICS or METRICS[self.select].lower_is_better:
            raise ValueError(f"select is {self.select!r}; expected one metric that is better when higher, as 'cider'")
        return self


class RegisterSpec(Section):
    """Under which name the best checkpoint enters the model registry."""

    model: str = Field(default="idc", pattern=r"^[A-Za-z0-9_.-]+$")


class SweepSpec(Section):
    """A search over specs: many short trials that are validated, and the best one trained again and tested."""

    space: Space
    """Dotted path -> [values], {choices: [...]}, or {low, high, log, step}; with `when`, a condition."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """`grid` runs every combination of listed values."""
    pruner: Literal["median", "none"] = "median"
    """`median` stops a trial that is worse than half of the others were at the same epoch."""
    trials: PositiveInt = 20
    """How many; a grid has as many as it has combinations."""
    timeout: PositiveInt | None = None
    """Seconds after which the search ends: no further try is begun by any process. The command goes on with it."""
    objectives: dict[str, Direction] = {}
    """Validation metrics and `latency` (milliseconds a pair, one at a time); by default eval.select. Several have a
    front of best trials, and are not pruned; the first one chooses."""
    seeds: NonNegativeInt = 3
    """The best trial is trained again with so many seeds, tested and registered; 0: every trial is tested itself."""
    storage: str | None = None
    """An Optuna storage URL for many machines; by default a journal file in mlruns/."""

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
    """What of this spec to vary; no part of a single experiment."""

    def completed(self) -> dict[str, Any]:
        """Gives the spec as plain values with every default written out: what MLflow and checkpoints store."""
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
        """Completed specs by their plain values: a run asks ten times, and plugins are looked up in all installations.

        A copy of the spec takes this along, whatever it changes; hence the keys.
        """
        return {}

    def fingerprint(self) -> str:
        """Identity of everything that the spec says, 12 hex digits."""
        return hashlib.sha256(json.dumps(self.completed(), sort_keys=True).encode()).hexdigest()[:12]


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Read a spec, apply `dotted.path=value` overrides (values are YAML), and check it.

    Raises:
        ValueError: The file is no YAML, a key comes twice or is unknown, or a value is of the wrong kind; in one line.
        OSError: The file cannot be read.
    """
    return make_spec(load_values(path, overrides), str(path))


def load_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a spec's plain values and apply overrides; what they mean is checked by `make_spec`.

    Raises:
        ValueError: The file is no YAML or holds no sections, or an override is not of its form.
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
    """Check plain values against the spec; `source` names them in errors."""
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{source}: {faults(error, Spec)}") from error


def _completed_dataset(data: DataSpec) -> dict[str, Any]:
    """The dataset with all of its settings; one that renders does so at the size that the model sees."""
    given = {"name": data.dataset} if isinstance(data.dataset, str) else dict(data.dataset)
    _, settings = resolve_reader(data.dataset)
    if "image_size" in settings and "image_size" not in given:
        settings["image_size"] = data.image_size
    return {"name": given["name"], **to_jsonable_python(settings)}


def _completed_tokenizer(data: DataSpec) -> dict[str, Any]:
    _, settings = resolve_tokenizer(data.tokenizer)
    name = data.tokenizer if isinstance(data.tokenizer, str) else data.tokenizer["name"]
    return {"name": name, **to_jsonable_python(settings)}
