"""Dataset generation: batched, de-duplicated stages against a plain loop, and the rate of every stage.

`uv run benchmarks/generate.py` uses models with random weights and sizes for a CPU; `--large` uses the sizes of
BLIP-large and Llama-3.2-3B, for a GPU. The plain loop captions both images of every pair and writes every difference
with one call each; each further line adds one improvement.
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asker, Asking, Local, Question
from idc_data.generate.caption import Blip
from idc_data.generate.chat import Llm
from idc_data.generate.collect import ImageFolder, collect
from idc_data.generate.difference import Captioned
from idc_data.generate.embed import Timm, embed
from idc_data.generate.pair import Similar
from idc_data.scenes import Scenes
from PIL import Image

IN_PAIRS = 3
"""Pairs per image: the default of `per_image`."""


def through(what: Any, description: str, length: int) -> Any:
    """No progress bar."""
    return what


def make_models(folder: Path, *, large: bool) -> tuple[Path, Path]:
    """Save a BLIP and a Llama with random weights, and tokenizers of their real vocabulary sizes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    words = BertTokenizerFast(vocab={word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])})
    words.add_special_tokens({"bos_token": "[DEC]"})
    width, layers, heads, pixels = (1024, 24, 16, 384) if large else (256, 6, 4, 224)
    text_width, text_layers = (768, 12) if large else (256, 4)
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.sep_token_id, "pad_token_id": words.pad_token_id}
    config = BlipConfig(
        vision_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "image_size": pixels,
            "patch_size": 16,
        },
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": text_layers,
            "num_attention_heads": text_width // 64,
            "encoder_hidden_size": width,
            "vocab_size": 30524,
            "sep_token_id": words.sep_token_id,
            **ids,
        },
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder / "blip")
    images = BlipImageProcessor(size={"height": pixels, "width": pixels})
    BlipProcessor(image_processor=images, tokenizer=words).save_pretrained(folder / "blip")

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({piece: n for n, piece in enumerate(["<pad>", "</s>", *alphabet])}, []))
    bytes_only.pre_tokenizer, bytes_only.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder / "llama")
    hidden, layers, vocabulary = (3072, 28, 128256) if large else (256, 6, 32000)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=8192 if large else 4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 128 if large else 4,
        num_key_value_heads=8 if large else 2,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
    )
    with torch.device("cuda" if large else "cpu"):
        LlamaForCausalLM(config).to(torch.bfloat16 if large else torch.float32).save_pretrained(folder / "llama")
    return folder / "blip", folder / "llama"


class Busy:
    """Samples GPU utilisation with nvidia-smi; none on a CPU."""

    def __enter__(self) -> "Busy":
        self._samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        if torch.cuda.is_available():
            self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __str__(self) -> str:
        return f", GPU busy {sum(self._samples) / len(self._samples):.0f} %" if self._samples else ""

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._stop.wait(0.2):
            self._samples.append(float(subprocess.run(query, capture_output=True, text=True).stdout.split()[0]))


def timed(work: Callable[[], Any]) -> tuple[float, str]:
    """Return seconds and GPU utilisation."""
    with Busy() as busy:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began, str(busy)


def fresh(folder: Path) -> Asking:
    """Return an asker with an empty cache."""
    return Asking(Answers(Path(tempfile.mkdtemp(dir=folder)) / "answers.sqlite"), Local(), through)


def one_by_one(asker: Asker, questions: list[Question]) -> None:
    """Ask every question separately, repeated ones too."""
    for question in questions:
        list(asker.ask([question]))


def main() -> None:
    """Measure each variant and print a line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--large", action="store_true", help="models of the size of BLIP-large and Llama-3.2-3B")
    options.add_argument("--images", type=int, default=0, help="how many  [default: 48, or 1024 with --large]")
    given = options.parse_args()
    num = given.images or (1024 if given.large else 48)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads")
    batch, words_out, answer_out = (64 if given.large else 16), 20, 60
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blip, llama = make_models(folder, large=given.large)
        images_folder = folder / "images"
        images_folder.mkdir()
        scenes = Scenes("train", image_size=256)
        for index in range(num // 2):
            for side in ("before", "after"):
                Image.fromarray(getattr(scenes[index], side)).save(images_folder / f"{index:05d}_{side}.png")
        paths = ImageFolder(root=images_folder).paths()
        seconds, _ = timed(lambda: collect(images_folder, paths, through))
        images, _ = collect(images_folder, paths, through)
        print(f"collect     {len(images) / seconds:9.1f} images/s")
        model = "vit_base_patch16_clip_224" if given.large else "mobilenetv3_small_100"
        embedder = Timm(model=model, pretrained=False, batch_size=batch)
        embed(embedder, images[:1], images_folder, fresh(folder))  # loads the model
        seconds, busy = timed(lambda: embed(embedder, images, images_folder, fresh(folder)))
        print(f"embed       {len(images) / seconds:9.1f} images/s, {model}{busy}")
        pairing = Similar(embedding="thumbnail", low=-1, high=1, per_image=IN_PAIRS, same_hash=-1)
        pairs, _ = pairing(images, images_folder, fresh(folder))
        by_identity = {row["image"]: row for row in images}
        sides = [by_identity[pair[side]] for pair in pairs for side in ("before", "after")]
        distinct = list({row["image"]: row for row in sides}.values())
        print(f"            {len(pairs)} pairs of {len(distinct)} images")

        settings: dict[str, Any] = {"model": str(blip), "beam": 1, "max_new_tokens": words_out}
        captioner = Blip(**settings, batch_size=batch)
        ((asker, every),) = captioner.to_ask(sides, images_folder)
        ((_, once),) = captioner.to_ask(distinct, images_folder)
        list(asker.ask(once[:batch]))  # loads the model
        plain, busy = timed(lambda: one_by_one(asker, every))
        rate = len(distinct) / plain
        print(f"caption     {rate:9.2f} images/s: plain loop over pairs{busy}")
        seconds, busy = timed(lambda: one_by_one(asker, once))
        print(f"            {len(distinct) / seconds:9.2f} images/s, {plain / seconds:.2f} x: each image once{busy}")
        seconds, busy = timed(lambda: captioner(distinct, images_folder, fresh(folder)))
        print(
            f"            {len(distinct) / seconds:9.2f} images/s, "
            f"{plain / seconds:.2f} x: and in batches of {batch}{busy}"
        )

        some = pairs[: len(pairs) // 2] if not given.large else pairs
        after = ("a large green cylinder behind a gray cube",)
        texts = [
            Captioned(pair["before"], pair["after"], ("", ""), (f"small red cube number {n} by a blue sphere",), after)
            for n, pair in enumerate(some)
        ]
        writer = Llm(model=str(llama), batch_size=batch, max_new_tokens=answer_out)
        ((asker, questions),) = writer.to_ask(texts)
        list(asker.ask(questions[:batch]))
        tokens = len(questions) * answer_out
        plain, busy = timed(lambda: one_by_one(asker, questions))
        print(f"difference  {tokens / plain:9.1f} tokens/s written: plain loop{busy}")
        seconds, busy = timed(lambda: fresh(folder)(asker, questions, "difference"))
        told = f"{plain / seconds:.2f} x: in batches of {batch}{busy}"
        print(f"            {tokens / seconds:9.1f} tokens/s written, {told}")


if __name__ == "__main__":
    main()
