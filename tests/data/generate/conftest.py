"""Photos, and real BLIP and Llama classes with small random weights, saved to disk and loaded by `from_pretrained`."""

import json

import numpy as np
import pytest
from PIL import Image

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "on", "the", "sofa", "red", "ball", "grass"]


@pytest.fixture
def photos(tmp_path):
    """A folder of twelve photos in three groups of alike ones, a copy, a broken file and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for group in range(3):
        scene = rng.integers(0, 256, (8, 8, 3))
        for index in range(4):
            noisy = np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).resize((48, 40 + group), Image.Resampling.BILINEAR).save(
                folder / f"{group}_{index}.png"
            )
    (folder / "copy.png").write_bytes((folder / "0_0.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture
def captions(tmp_path, photos):
    """A file of captions of the photos."""
    things = ["a brown dog on a sofa", "a red ball on the grass", "two cats next to a white car"]
    said = {
        path.name: things[int(path.name[0])] + (" and a hat" if path.stem.endswith("1") else "")
        for path in photos.glob("?_?.png")
    }
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(said))
    return file


@pytest.fixture(scope="session")
def blip(tmp_path_factory):
    """A BLIP captioner of 50,000 random parameters."""
    import torch
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BlipConfig(
        vision_config={**size, "image_size": 32, "patch_size": 8},
        text_config={
            **size,
            "vocab_size": len(tokenizer),
            "encoder_hidden_size": 32,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        projection_dim=32,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """A Llama chat model of 40,000 random parameters."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(["the red dog is gone and a cat has appeared"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
