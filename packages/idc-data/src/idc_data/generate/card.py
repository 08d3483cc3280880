"""The data card: README.md of a dataset, as people and the Hugging Face hub read it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from idc_data.generate.stage import Rows
from idc_data.whole import write_whole

_SAMPLES = 10
_LICENSES = {
    "Salesforce/blip": "BSD-3-Clause",
    "Salesforce/blip2": "MIT (its OPT part: OPT-175B licence, not for commercial use)",
    "meta-llama/Llama-3.2": "Llama 3.2 Community License: a model that is trained on its output and given away has a "
    'name that begins with "Llama"',
    "Qwen/Qwen2.5-VL-3B": "Qwen Research License, not for commercial use",
    "openai/clip": "MIT",
}
"""Beginnings of model names -> licence, as their publishers state it; read the model's page before you rely on it."""

NOT_NOTES = ("stage", "identity", "made_from", "rows", "seconds", "reused")
"""What the provenance of a stage holds beside its notes."""


def data_card(
    out: Path,
    name: str,
    license: str,
    settings: dict[str, Any],
    stages: list[dict[str, Any]],
    rows: Rows,
    counts: dict[str, int],
    prompts: dict[str, str],
) -> None:
    """Write README.md: contents, settings and yield of every stage, prompts, samples and licences.

    Args:
        out: The folder of the dataset.
        name: Of the dataset.
        license: Of the images, as the user says.
        settings: The completed settings of every stage.
        stages: The provenance of every stage, in order.
        rows: The kept pairs.
        counts: Pairs in each split.
        prompts: Stage -> template.
    """
    lines = [
        "---",
        _front_matter(name, license).strip(),
        "---",
        f"# {name}",
        "",
        f"{len(rows):,} pairs of images, before and after, with captions of what changed, made by `idc-data generate`: "
        + ", ".join(f"{count:,} in {split}" for split, count in counts.items())
        + ". No image is in two splits. The sentences were written by programs and not checked by people, unless an "
        "audit is reported below.",
        "",
        "## How it was made",
        "",
        "| stage | how | rows | seconds | notes |",
        "|---|---|---|---|---|",
    ]
    for stage in stages:
        notes = {key: value for key, value in stage.items() if key not in NOT_NOTES and value}
        shown = _cell("; ".join(f"{key}: {_short(value)}" for key, value in notes.items()))
        how = _how(settings[stage["stage"]])
        lines.append(f"| {stage['stage']} | {how} | {stage['rows']:,} | {stage['seconds']:,.1f} | {shown} |")
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[row["change_type"]] = kinds.get(row["change_type"], 0) + 1
    lines += ["", "| change type | pairs |", "|---|---|"]
    lines += [f"| {kind} | {count:,} |" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]
    for stage, text in prompts.items():
        lines += ["", f"## Prompt of the stage {stage}", "", "```jinja", text.strip(), "```"]
    lines += ["", "## Samples", "", "| before | after | difference |", "|---|---|---|"]
    for row in sorted(rows, key=lambda row: sha256(row["pair"].encode()).digest())[:_SAMPLES]:
        said = (row["before_caption"], row["after_caption"], row["references"][0])
        lines.append("| " + " | ".join(map(_cell, said)) + " |")
    lines += ["", "## Licences", "", f"Images: {license or 'those of their sources; not stated'}."]
    models = {part.get(key) for part in settings.values() for key in ("model", "clip") if part.get(key)}
    models |= (
        {settings["pair"]["embedding"].get("model")} if isinstance(settings["pair"].get("embedding"), dict) else set()
    )
    for model in sorted(filter(None, models)):
        known = next((text for start, text in _LICENSES.items() if model.startswith(start)), "see where it comes from")
        lines.append(f"\nModel `{_cell(_named(model))}`: {known}.")
    write_whole(out / "README.md", ("\n".join(lines) + "\n").encode())


def _front_matter(name: str, license: str) -> str:
    """The metadata that the hub reads."""
    values = {
        "pretty_name": name,
        **({"license": license} if license else {}),
        "task_categories": ["image-to-text"],
        "tags": ["image-difference-captioning", "change-captioning", "synthetic"],
    }
    text = StringIO()
    YAML().dump(values, text)
    return text.getvalue()


def _how(part: dict[str, Any]) -> str:
    """The settings that are not empty, for people."""
    shown = {key: _named(value) for key, value in part.items() if value or value == 0}
    return _cell(", ".join(f"{key} {value}" if key != "name" else f"`{value}`" for key, value in shown.items()))


def _named(value: Any) -> Any:
    """A setting with the last part of each absolute path alone: the folders of a machine are nobody else's business."""
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items())
    return len(value) if isinstance(value, list) else f"{value:,}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
