"""A whole generation: collect, pair, caption, write the difference, filter, split and publish."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from idc_data.audit import apply_verdicts
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Spent
from idc_data.generate.caption import CAPTIONS
from idc_data.generate.card import data_card
from idc_data.generate.collect import IMAGES, collect, listing
from idc_data.generate.difference import DIFFERENCES, Captioned
from idc_data.generate.filters import FILTERED
from idc_data.generate.pair import PAIRS
from idc_data.generate.progress import Progress
from idc_data.generate.publish import publish, split_pairs
from idc_data.generate.spec import STAGES, GenerateSpec
from idc_data.generate.stage import Rows, Stages, identity
from idc_data.images import passed_over
from idc_data.layout import GENERATION
from idc_data.whole import write_whole
from idc_data.wording import counted

STAGES_FOLDER = ".stages"

Made = tuple[Rows, dict[str, Any]]


def generate(
    spec: GenerateSpec, *, say: Callable[[str], None], progress: Progress, dry_run: bool = False
) -> dict[str, int]:
    """Make the dataset that a spec describes; what an earlier, killed or finished, generation made is not made again.

    Args:
        spec: How it is made.
        say: Told one line per stage.
        progress: Shows what takes long.
        dry_run: Stop before any captioner or language model is asked, and say what it would take.

    Returns:
        The number of pairs in each split; nothing after a dry run.

    Raises:
        ValueError: Input is not as the spec says, or nothing is left to publish.
        OSError: Files or models are missing.
    """
    return _Generation(spec, say, progress).run(dry_run)


class _Generation:
    """The state of one generation: its parts, its stage files, and what they were made from."""

    def __init__(self, spec: GenerateSpec, say: Callable[[str], None], progress: Progress) -> None:
        self._spec, self._say, self._progress = spec, say, progress
        self._parts = {stage: spec.part(stage)[0](**spec.part(stage)[1]) for stage in STAGES}  # models are loaded later
        engine, settings = spec.part("engine")
        self._stages = Stages(spec.out / STAGES_FOLDER)
        self._asking = Asking(Answers(self._stages.folder / "answers.sqlite"), engine(**settings), progress)
        self._made: dict[str, dict[str, Any]] = {}

    def run(self, dry_run: bool) -> dict[str, int]:
        """All stages, one after the other."""
        root, images = self._collected()
        pairs = self._paired(root, images)
        used = {row[side] for row in pairs for side in ("before", "after")}
        shown = [row for row in images if row["image"] in used]
        if dry_run:
            self._estimate(root, shown, pairs)
            return {}
        captioned = self._make(
            "caption",
            CAPTIONS,
            lambda: (self._parts["caption"](shown, root, self._asking), {}),
            images=sorted(used),
            collect=self._made["collect"]["identity"],
        )
        texts = _captioned(root, shown, pairs, {row["image"]: tuple(row["captions"]) for row in captioned})
        differences = self._make(
            "difference",
            DIFFERENCES,
            lambda: (_write(pairs, self._parts["difference"](texts, self._asking)), {}),
            pairs=self._made["pair"]["identity"],
            captions=self._made["caption"]["identity"],
        )
        filtered = self._make(
            "filter",
            FILTERED,
            lambda: self._parts["filter"](pairs, texts, differences, self._asking),
            differences=self._made["difference"]["identity"],
        )
        kept = [
            {
                **pair,
                "references": kept["references"],
                "change_type": difference["change_type"],
                "before_path": str(Path(text.files[0]).relative_to(root.resolve())),
                "after_path": str(Path(text.files[1]).relative_to(root.resolve())),
                "before_caption": text.before_captions[0],
                "after_caption": text.after_captions[0],
            }
            for pair, text, difference, kept in zip(pairs, texts, differences, filtered, strict=True)
            if not kept["reason"]
        ]
        if not kept:
            raise ValueError(
                f"the filters kept none of {counted(len(pairs), 'pair')}: {self._made['filter']['reasons']}"
            )
        splits = split_pairs(kept, **self._spec.split.model_dump())
        counts = publish(self._spec.out, root, kept, splits, self._spec.image_size)
        self._finish(kept, counts)
        if judged := apply_verdicts(self._spec.out):
            self._say(f"audit      {judged:>8,} verdicts of people applied")
        return counts

    def _collected(self) -> tuple[Path, Rows]:
        collector = self._parts["collect"]
        root, paths = collector.root, collector.paths()
        if others := getattr(collector, "others", ()):
            self._say(f"collect    {passed_over(others)}")
        found = identity(listing(root, paths))
        return root, self._make("collect", IMAGES, lambda: collect(root, paths, self._progress), listing=found)

    def _paired(self, root: Path, images: Rows) -> Rows:
        pair = self._parts["pair"]
        made_from = {"images": self._made["collect"]["identity"]}
        pairs = self._make("pair", PAIRS, lambda: pair(images, root, self._asking), **made_from)
        if not pairs:
            raise ValueError(
                "no two images make a pair; widen the window (pair.low, pair.high) or give the pairs yourself"
            )
        return pairs[: self._spec.limit]

    def _make(self, stage: str, schema: Any, work: Callable[[], Made], **inputs: Any) -> Rows:
        """Make a stage, or read what was made, and say so."""
        made_from = {"settings": self._spec.settings(stage), "files": _files(self._spec.part(stage)[1]), **inputs}
        if stage not in ("collect", "pair"):
            made_from["limit"] = self._spec.limit

        def counted() -> Made:
            self._asking.spent = Spent()
            rows, notes = work()
            return rows, {**notes, **self._asking.spent.notes()}

        rows, provenance = self._stages.make(stage, made_from, schema, counted)
        self._made[stage] = provenance
        again = "as before" if provenance["reused"] else f"{provenance['seconds']:.1f} s"
        self._say(f"{stage:<10} {len(rows):>8,} rows  {again}{_notes(provenance)}")
        return rows

    def _estimate(self, root: Path, images: Rows, pairs: Rows) -> None:
        """Say what captions and differences would take; a caption that is not there yet is taken to have ten words."""
        unknown = dict.fromkeys(
            (row["image"] for row in images), ("a photo of one thing next to another thing outside",)
        )
        texts = _captioned(root, images, pairs, unknown)
        self._say(
            f"to do: caption {counted(len(images), 'image')}, write {counted(len(pairs), 'difference')}; no model was "
            "asked for any"
        )
        for stage, asks in (
            ("caption", self._parts["caption"].to_ask(images, root)),
            ("difference", self._parts["difference"].to_ask(texts)),
        ):
            for asker, questions in asks:
                self._say(f"{stage:<10} {self._asking.estimate(asker, questions)}")
            if stage == "difference" and asks and asks[0][1]:
                self._say(
                    "the first prompt, but for its captions:\n  | " + _prompt(asks[0][1][0]).replace("\n", "\n  | ")
                )
            if not asks:
                self._say(f"{stage:<10} no model")

    def _finish(self, kept: Rows, counts: dict[str, int]) -> None:
        """Write the data card, and how the dataset was made."""
        spec, out = self._spec, self._spec.out
        settings = {stage: spec.settings(stage) for stage in STAGES}
        stages = [{key: value for key, value in made.items() if key != "reused"} for made in self._made.values()]
        prompts = {}
        if text := getattr(self._parts["difference"], "prompt_text", None):
            prompts["difference"] = text
        data_card(out, spec.name, spec.license, settings, stages, kept, counts, prompts)
        described = {
            "name": spec.name,
            "spec": spec.model_dump(mode="json") | settings,
            "stages": stages,
            "prompts": prompts,
            "pairs": counts,
        }
        path = out / GENERATION
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        tracked = before.pop("run", None)
        described = json.loads(json.dumps(described, default=str))
        if tracked and before == described:
            described["run"] = tracked
        write_whole(path, json.dumps(described, indent=2).encode())


def _captioned(root: Path, images: Rows, pairs: Rows, captions: Mapping[str, Sequence[str]]) -> list[Captioned]:
    at = {row["image"]: str((root / row["path"]).resolve()) for row in images}
    return [
        Captioned(
            pair["before"],
            pair["after"],
            (at[pair["before"]], at[pair["after"]]),
            tuple(captions[pair["before"]]),
            tuple(captions[pair["after"]]),
        )
        for pair in pairs
    ]


def _write(pairs: Rows, differences: Sequence[Any]) -> Rows:
    return [{"pair": pair["pair"], **written.model_dump()} for pair, written in zip(pairs, differences, strict=True)]


def _files(settings: dict[str, Any]) -> dict[str, str]:
    """The contents, hashed, of the files that settings name."""
    files = {name: value for name, value in settings.items() if isinstance(value, Path) and value.is_file()}
    return {name: sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}


def _prompt(question: Any) -> str:
    return question.content["chat"][0]["content"]


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
