"""The engine for many processes and machines: Ray Data, with actors that hold the models."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt

from idc_data.generate.ask import Asker, Local, Question, Said

_BLOCKS = 10_000
_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else it copies the folder and makes a new environment of it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


class Ray:
    """Spreads batches over Ray Data actors, each of which loads the model once.

    The answers come back to this process, which alone stores them, so that a killed run resumes as a local one does. On
    several machines, the images and the folders of models have to be on a disk that all of them can read.

    Args:
        actors: Number of actors.
        cpus: CPU cores of each.
        gpus: GPUs of each; a fraction shares one.
        address: Of a running cluster, or `auto`; by default Ray is started here and ends with this process.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(
        self,
        *,
        actors: PositiveInt = 1,
        cpus: Annotated[float, Field(gt=0)] = 1.0,
        gpus: NonNegativeFloat = 0.0,
        address: str | None = None,
    ) -> None:
        self._actors, self._resources, self._address = actors, {"num_cpus": cpus, "num_gpus": gpus}, address

    def run(self, asker: Asker, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[int, list[tuple[int, Said]]]]:
        """Yield the index of a batch with answers to it, in any order.

        Raises:
            ValueError: The asker could not answer; the message says why.
        """
        if asker.in_process:
            yield from Local().run(asker, batches)
            return
        ray = self._started()
        rows = [
            {"batch": index, "questions": json.dumps([(each.content, each.files) for each in batch])}
            for index, batch in enumerate(batches)
        ]
        answered = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS)).map(
            _Actor,
            fn_constructor_args=(asker,),
            compute=ray.data.ActorPoolStrategy(size=min(self._actors, len(rows))),
            **self._resources,
        )
        for row in answered.iter_rows():
            if row["problem"]:
                raise ValueError(row["problem"])
            yield row["batch"], [(index, Said(*said)) for index, said in json.loads(row["answers"])]

    def _started(self) -> Any:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
            import ray.data
        except ModuleNotFoundError as error:
            raise ValueError(
                "engine 'ray' needs Ray, which is not installed; in the checkout: "
                'uv pip install "./packages/idc-data[ray]"'
            ) from error
        if not ray.is_initialized():
            ray.init(address=self._address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        return ray


class _Actor:
    """Holds an asker in a process of its own."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        questions = [Question(content, tuple(files)) for content, files in json.loads(row["questions"])]
        try:
            answers = [answer for some in self._asker.ask(questions) for answer in some]
        except (ValueError, OSError) as error:
            return {"batch": row["batch"], "answers": "", "problem": str(error)}
        return {"batch": row["batch"], "answers": json.dumps(answers), "problem": ""}
