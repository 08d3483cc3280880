"""A whole generation: collect, pair, caption, write the difference, filter, split and publish."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from idc_data.generate.answers import Answers
from idc_data.generate.caption import CAPTIONS
from idc_data.generate.collect import IMAGES, collect, listing
from idc_data.generate.difference import DIFFERENCES
from idc_data.generate.filters import FILTERED
from idc_data.generate.pair import PAIRS, Progress
from idc_data.generate.publish import data_card, publish, split_pairs
from idc_data.generate.spec import STAGES, GenerateSpec
from idc_data.generate.stage import Rows, Stages, identity

_STAGES = ".stages"


def generate(
    spec: GenerateSpec, *, say: Callable[[str], None], progress: Progress, dry_run: bool = False
) -> dict[str, int]:
    """Make the dataset that a spec describes; what an earlier, killed or finished, generation made is not made again.

    Args:
        spec: How it is made.
        say: Told one line per stage.
        progress: Shown what takes long.
        dry_run: Stop before any captioner or language model is asked.

    Returns:
        The number of pairs in each split; nothing after a dry run.

    Raises:
        ValueError: Input is not as the spec says, or nothing is left to publish.
        OSError: Files or models are missing.
    """
    parts = {stage: spec.part(stage)[0](**spec.part(stage)[1]) for stage in STAGES}  # models are loaded when needed
    stages = Stages(spec.out / _STAGES)
    answers = Answers(stages.folder / "answers.sqlite")
    made: list[dict[str, Any]] = []

    def make(stage: str, schema: Any, work: Callable[[], tuple[Rows, dict[str, Any]]], **inputs: Any) -> Rows:
        made_from = {"settings": spec.settings(stage), "files": _files(spec.part(stage)[1]), **inputs}
        rows, provenance = stages.make(stage, made_from, schema, work)
        made.append(provenance)
        again = "as before" if provenance["reused"] else f"{provenance['seconds']:.1f} s"
        say(f"{stage:<10} {len(rows):>8,} rows  {again}{_notes(provenance)}")
        return rows

    root, paths = parts["collect"].root, parts["collect"].paths()
    reading = progress(paths, "collect", len(paths))
    images = make("collect", IMAGES, lambda: collect(root, reading), listing=identity(listing(root, paths)))
    pairs = make("pair", PAIRS, lambda: parts["pair"](images, root, progress), images=made[0]["identity"])
    if not pairs:
        raise ValueError("no two images make a pair; widen the window (pair.low, pair.high) or give the pairs yourself")
    paired = {row[side] for row in pairs for side in ("before", "after")}
    shown = [row for row in images if row["image"] in paired]
    if dry_run:
        say(f"to do: caption {len(shown):,} images, write {len(pairs):,} differences; nothing was asked of a model")
        return {}
    captioned = make(
        "caption",
        CAPTIONS,
        lambda: _asked(answers, lambda: parts["caption"](shown, root, answers, progress)),
        images=sorted(paired),
        collect=made[0]["identity"],
    )
    captions = {row["image"]: row["captions"][0] for row in captioned}
    texts = [(captions[row["before"]], captions[row["after"]]) for row in pairs]
    differences = make(
        "difference",
        DIFFERENCES,
        lambda: _asked(answers, lambda: _write(pairs, parts["difference"](texts, answers))),
        pairs=made[1]["identity"],
        captions=made[2]["identity"],
    )
    filtered = make("filter", FILTERED, lambda: parts["filter"](pairs, differences), differences=made[3]["identity"])
    at = {row["image"]: row["path"] for row in images}
    kept = [
        {
            **pair,
            "references": kept["references"],
            "change_type": difference["change_type"],
            **{f"{side}_path": at[pair[side]] for side in ("before", "after")},
            **{f"{side}_caption": captions[pair[side]] for side in ("before", "after")},
        }
        for pair, difference, kept in zip(pairs, differences, filtered, strict=True)
        if not kept["reason"]
    ]
    if not kept:
        raise ValueError(f"the filters kept none of {len(pairs)} pairs: {made[-1]['reasons']}")
    splits = split_pairs(kept, **spec.split.model_dump())
    counts = publish(spec.out, root, kept, splits, spec.image_size)
    data_card(spec.out, spec.name, {stage: spec.settings(stage) for stage in STAGES}, made, kept)
    return counts


def _write(pairs: Rows, differences: list[Any]) -> Rows:
    return [{"pair": pair["pair"], **written.model_dump()} for pair, written in zip(pairs, differences, strict=True)]


def _asked(answers: Answers, work: Callable[[], Rows]) -> tuple[Rows, dict[str, Any]]:
    before = answers.asked
    rows = work()
    return rows, {"asked of a model": answers.asked - before}


def _files(settings: dict[str, Any]) -> dict[str, str]:
    """The contents, hashed, of the files that settings name."""
    files = {name: value for name, value in settings.items() if isinstance(value, Path) and value.is_file()}
    return {name: sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}


def _notes(provenance: dict[str, Any]) -> str:
    shown = []
    for name, value in provenance.items():
        if name == "reasons":
            shown += [f"{reason} {count:,}" for reason, count in value.items()]
        elif name == "broken" and value:
            shown.append(f"broken files: {', '.join(problem['path'] for problem in value[:5])} ({len(value)} in all)")
        elif name not in ("stage", "identity", "made_from", "rows", "seconds", "reused", "broken") and value:
            shown.append(f"{name}: {value:,}")
    return "  " + "; ".join(shown) if shown else ""
