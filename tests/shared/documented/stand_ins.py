"""What the documentation can only call by a name: path/to/folder, before.png, the ratings of two people."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from idc_eval.rating.store import Ratings
from PIL import Image


def images(root: Path) -> None:
    """Single pairs, folders of pairs, a list of pairs, and photos with captions."""
    pairs = sorted((root / "path/to/folder/val").glob("*_before.*"))[:2]
    for number, before in enumerate(pairs, 1):
        for side, folder in (("before", "monday"), ("after", "tuesday")):
            image = Image.open(before.with_name(before.name.replace("before", side)))
            (root / folder).mkdir(exist_ok=True)
            for path in (f"{side}.png", f"{side}.jpg", f"{folder}/{number}.png", f"examples/clients/{side}.png"):
                image.convert("RGB").resize((320, 320)).save(root / path)
    for number, name in enumerate("abcd"):
        shutil.copy(root / f"{('before', 'after')[number // 2]}.png", root / f"{name}.png")
    (root / "pairs.jsonl").write_text('{"before": "before.png", "after": "after.png", "id": 7}\n')
    rng, photos, said = np.random.default_rng(0), root / "path/to/photos", {}
    photos.mkdir(parents=True)
    captions = ("a brown dog on a sofa", "a red ball on the grass", "two cats next to a car") * 4
    for group, caption in enumerate(captions):  # no image is in two splits, so a split takes a group
        scene = rng.integers(0, 256, (8, 8, 3))
        for index in range(3):
            noisy = np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).resize((64, 64), Image.Resampling.BILINEAR).save(photos / f"{group}_{index}.png")
            said[f"{group}_{index}.png"] = f"{caption} and a hat" if index == 1 else caption
    (root / "captions.json").write_text(json.dumps(said))


def clevr(root: Path) -> None:
    """Scenes in the published layout of CLEVR-Change."""
    names = [f"CLEVR_default_{scene:06d}.png" for scene in range(24)]
    kinds = (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic"))
    for light, (folder, kind) in enumerate(kinds):
        (root / folder).mkdir(parents=True)
        for scene, name in enumerate(names):
            Image.new("RGB", (48, 36), (9 * scene, 90, 60 * light)).save(root / folder / name.replace("default", kind))
    contents = {
        "change_captions": {name: [f"the cube number {name[14:20]} moved", "the cube moved"] for name in names},
        "no_change_captions": {name: ["no change was made", "nothing has changed"] for name in names},
        "splits": {"train": [*range(12)], "val": [*range(12, 18)], "test": [*range(18, 24)]},
    }
    for name, content in contents.items():
        (root / f"{name}.json").write_text(json.dumps(content))


def published(root: Path) -> None:
    """A table of pairs with columns of its own, and Spot-the-Diff as published."""
    for folder in ("my/photos", "downloads/spot/resized_images"):
        (root / folder).mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        for side, name in (("before", "{}.png"), ("after", "{}_2.png")):
            image = Image.open(root / f"{side}.png").rotate(90 * number)
            image.save(root / "my/photos" / name.format(number))
            image.save(root / "downloads/spot/resized_images" / name.format(number))
        (root / f"my/photos/{split}.csv").write_text(f"old,new,caption\n{number}.png,{number}_2.png,the cube moved\n")
        record = {"img_id": str(number), "sentences": ["the cube moved", "a ball came"]}
        (root / f"downloads/spot/{split}.json").write_text(json.dumps([record]))


def people(root: Path, run: Callable[[str], str]) -> None:
    """A study, and what its raters and those who audit a dataset have saved."""
    run("idc-eval rate lstm.jsonl transformer.jsonl --num 50 --html made.html")
    with Ratings(root / "ratings.db") as ratings:
        for rater in ("ann", "ben"):
            judgements = [
                {"rater": rater, "item": item, "question": question, "value": 1 + index % 5, "time": 1}
                for index, item in enumerate(ratings.items)
                for question in ratings.questions
            ]
            saved = {"study": ratings.settings.study, "judgements": judgements}
            (root / f"ratings_{rater}.json").write_text(json.dumps(saved))
    run("idc-eval rate --import ratings_ann.json --import ratings_ben.json")
    line = next(iter(next(root.glob("data/photos/*/metadata.jsonl")).read_text().splitlines()))
    pair = json.loads(line)
    saved = {pair["id"]: {"verdict": "accept", "written": pair["references"]}}
    (root / "photos_audit.json").write_text(json.dumps(saved))
