"""Metrics computed by models, BERTScore and CLIPScore; they need the extra `idc-eval[learned]`.

This is the only file of the package that imports torch, and only when one of the two is computed.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from idc_eval.measured import Measured, average
from idc_eval.prediction import Prediction

BERT, CLIP = "IDC_BERTSCORE_MODEL", "IDC_CLIPSCORE_MODEL"
"""Environment variables that name a model or its folder."""

WITHOUT = (
    'it needs torch and transformers (in the checkout, uv pip install "./packages/idc-eval[learned]"); CLIPScore also '
    "needs predictions with `after` images"
)

_MAX_TOKENS = 256


def bertscore(predictions: Sequence[Prediction]) -> Measured:
    """Compute BERTScore F1 of each hypothesis with its best reference, by roberta-large or `IDC_BERTSCORE_MODEL`.

    Uses the model's last hidden layer without special tokens, IDF weights or rescaling, on captions as written, since
    models have their own tokenizers. Values of different models do not compare.

    Source: Zhang et al., "BERTScore", ICLR 2020. Differs: the last layer instead of one chosen for the model. Not by
    torchmetrics, whose 1.9 gives a sentence other values in another batch.

    Raises:
        ValueError: The model cannot be loaded.
    """
    if not _installed():
        return Measured.of_corpus(math.nan, 0)
    import torch

    name = os.environ.get(BERT, "roberta-large")
    model, tokenizer = _loading(name, BERT, lambda: _bert(name))

    @cache
    @torch.no_grad()
    def words(caption: str) -> Any:
        inputs = tokenizer(caption, return_tensors="pt", truncation=True, max_length=_MAX_TOKENS)
        special = tokenizer.get_special_tokens_mask(inputs["input_ids"][0], already_has_special_tokens=True)
        hidden = model(**inputs).last_hidden_state[0][~torch.tensor(special, dtype=torch.bool)]
        return torch.nn.functional.normalize(hidden, dim=1)

    def f1(hypothesis: str, reference: str) -> float:
        alike = words(hypothesis) @ words(reference).T
        if not alike.numel():
            return 0.0
        precision, recall = float(alike.amax(1).mean()), float(alike.amax(0).mean())
        return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0

    return average([max(f1(p.hypothesis, reference) for reference in p.references) for p in predictions])


def clipscore(predictions: Sequence[Prediction], images: Path | None) -> Measured:
    """Compute CLIPScore of each hypothesis with its after image, 0..1, by `IDC_CLIPSCORE_MODEL` or OpenAI's ViT-B/32.

    It measures whether the caption fits the after image; CLIP does not see the before image.

    Source: Hessel et al., "CLIPScore", EMNLP 2021. Differs: max(cosine, 0) without their factor of 2.5. Not by
    torchmetrics, whose 1.9 does not run with transformers 5.

    Raises:
        ValueError: The model cannot be loaded, or an image is damaged.
    """
    if not _installed() or images is None or not any(p.after for p in predictions):
        return Measured.of_corpus(math.nan, 0)
    import torch

    from idc_eval.images import image_file, open_image

    name = os.environ.get(CLIP, "openai/clip-vit-base-patch32")
    model, processor = _loading(name, CLIP, lambda: _clip(name))

    @torch.no_grad()
    def one(prediction: Prediction) -> float:
        if not prediction.after:
            return math.nan
        inputs = processor(
            images=open_image(image_file(images, prediction.after)),
            text=prediction.hypothesis,
            return_tensors="pt",
            truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
        )
        seen = model(**inputs)
        return max(float(torch.cosine_similarity(seen.image_embeds, seen.text_embeds)), 0.0)

    return average([one(prediction) for prediction in predictions])


def _installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


@cache
def _bert(name: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    return AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)


@cache
def _clip(name: str) -> tuple[Any, Any]:
    from transformers import CLIPModel, CLIPProcessor

    return CLIPModel.from_pretrained(name).eval(), CLIPProcessor.from_pretrained(name)


def _loading(name: str, variable: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except OSError as error:
        raise ValueError(
            f"the model {name!r} cannot be loaded: {str(error).splitlines()[0]} Set {variable} to a folder with a model"
        ) from error
