"""A whole generation: collect, pair, caption, write the difference, filter, split and publish."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from idc_data.audit import apply_verdicts
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Spent
from idc_data.generate.caption import CAPTIONS
from idc_data.generate.card import NOT_NOTES, data_card
from idc_data.generate.collect import IMAGES, collect, listing
from idc_data.generate.difference import DIFFERENCES, Captioned, NearlyAllRejected
from idc_data.generate.estimate import captions_known, estimated, placeholder
from idc_data.generate.filters import FILTERED
from idc_data.generate.loading import content_hash, release
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
REJECTED = "rejected.jsonl"
"""Pairs that were not kept, with what was written about them and why; it lies beside the stage files."""

Made = tuple[Rows, dict[str, Any]]


def generate(
    spec: GenerateSpec, *, say: Callable[[str], None], progress: Progress, dry_run: bool = False
) -> dict[str, int]:
    """Make the dataset that a spec describes, and reuse what an earlier generation, killed or finished, has made.

    Args:
        spec: How it is made.
        say: Takes one line per stage.
        progress: Shows how far long work is.
        dry_run: Stop before a captioner or language model is asked, and say what it would take.

    Returns:
        The number of pairs in each split; empty after a dry run.

    Raises:
        ValueError: The input is not as the spec says, a model cannot be used, or no pair is kept.
        OSError: A file is missing.
    """
    return _Generation(spec, say, progress, dry_run).run()


class _Generation:
    """The state of one generation: its parts, its stage files, and what they were made from."""

    def __init__(self, spec: GenerateSpec, say: Callable[[str], None], progress: Progress, dry_run: bool) -> None:
        self._spec, self._say, self._progress, self._dry_run = spec, say, progress, dry_run
        self._parts = {stage: spec.part(stage)[0](**spec.part(stage)[1]) for stage in STAGES}  # models are loaded later
        engine, settings = spec.part("engine")
        self._stages = Stages(spec.out / STAGES_FOLDER)
        self._askers = [asker for part in self._parts.values() for asker in getattr(part, "askers", ())]
        answers = Answers(self._stages.folder / "answers.sqlite")
        self._asking = Asking(answers, engine(**settings), progress, check=() if dry_run else self._askers)
        self._made: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, int]:
        """All stages, one after the other."""
        root, images = self._collected()
        pairs = self._paired(root, images)
        used = {row[side] for row in pairs for side in ("before", "after")}
        shown = [row for row in images if row["image"] in used]
        if self._dry_run:
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
            lambda: self._written(pairs, texts),
            pairs=self._made["pair"]["identity"],
            captions=self._made["caption"]["identity"],
        )
        filtered = self._make(
            "filter",
            FILTERED,
            lambda: self._parts["filter"](pairs, texts, differences, self._asking),
            differences=self._made["difference"]["identity"],
        )
        self._keep_rejected(
            (text, row["reason"], list(difference["references"] or ()) or difference["rejected"])
            for text, row, difference in zip(texts, filtered, differences, strict=True)
            if row["reason"]
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
                f"the filters kept none of {counted(len(pairs), 'pair')}: {self._made['filter']['reasons']}; "
                f"see {self._stages.folder / REJECTED}"
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
        part, (kind, settings) = self._parts[stage], self._spec.part(stage)
        made_from = {"settings": self._spec.settings(stage), "files": _files(settings), **inputs}
        if askers := getattr(part, "askers", ()):  # weights and prompts may change behind the same name
            made_from["askers"] = [asker.identity for asker in askers]
        if prompt := getattr(part, "prompt_text", ""):
            made_from["prompt"] = identity(prompt)
        if ":" in made_from["settings"]["name"]:
            made_from["code"] = content_hash(Path(inspect.getfile(kind)))
        if stage not in ("collect", "pair"):
            made_from["limit"] = self._spec.limit

        def counted() -> Made:
            self._asking.spent = Spent()
            rows, notes = work()
            release()  # the next stage has the GPU to itself
            return rows, {**notes, **self._asking.spent.notes()}

        rows, provenance = self._stages.make(stage, made_from, schema, counted)
        self._made[stage] = provenance
        again = "as before" if provenance["reused"] else f"{provenance['seconds']:.1f} s"
        self._say(f"{stage:<10} {len(rows):>8,} rows  {again}{_notes(provenance)}")
        return rows

    def _estimate(self, root: Path, images: Rows, pairs: Rows) -> None:
        """Say what captions and differences would take, with the captions that there are, or else placeholders."""
        captioner = self._parts["caption"]
        if captions_known(captioner, images, root, self._asking):
            captions = {row["image"]: row["captions"] for row in captioner(images, root, self._asking)}
        else:
            captions = {row["image"]: [placeholder(number)] for number, row in enumerate(images)}
        texts = _captioned(root, images, pairs, captions)
        self._say(
            f"to do: caption {counted(len(images), 'image')}, write {counted(len(pairs), 'difference')}; no model was "
            "asked for any"
        )
        for line in estimated(captioner, self._parts["difference"], images, root, texts, self._asking):
            self._say(line)
        for asker in self._askers:
            try:
                if not asker.in_process and hasattr(asker, "check"):  # an endpoint is checked by a question
                    asker.check()
            except ValueError as error:
                self._say(f"problem    {error}")

    def _written(self, pairs: Rows, texts: Sequence[Captioned]) -> Made:
        try:
            return _write(pairs, self._parts["difference"](texts, self._asking)), {}
        except NearlyAllRejected as error:
            reasons = [(pair, "unreadable answer", text) for pair, text in error.rejected]
            raise ValueError(f"{error}\nall of them: {self._keep_rejected(reasons)}") from error

    def _keep_rejected(self, rejected: Iterable[tuple[Captioned, str, Any]]) -> Path:
        """Write what was rejected to a file beside the stage files, for people to read."""
        path = self._stages.folder / REJECTED
        lines = (
            {
                "reason": reason,
                "before": pair.before_captions[0],
                "after": pair.after_captions[0],
                "written": written,
                "files": [Path(file).name for file in pair.files],
            }
            for pair, reason, written in rejected
        )
        write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        return path

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


def _notes(provenance: dict[str, Any]) -> str:
    shown = []
    for name, value in provenance.items():
        if isinstance(value, dict):
            shown += [f"{reason} {count:,}" for reason, count in value.items() if name == "reasons"]
        elif name == "broken" and value:
            shown.append(f"broken files: {', '.join(problem['path'] for problem in value[:5])} ({len(value)} in all)")
        elif name not in (*NOT_NOTES, "broken") and value:
            shown.append(f"{name}: {value:,}")
    return "  " + "; ".join(shown) if shown else ""
