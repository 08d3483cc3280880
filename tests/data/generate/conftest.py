"""Photos, and real BLIP and Llama classes with small random weights, saved to disk and loaded by `from_pretrained`."""

import copy
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
def tokenizer():
    """A byte-level tokenizer of 400 tokens with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>", "<image>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    words.train_from_iterator(["the red dog is gone and a cat has appeared"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    return tokenizer


@pytest.fixture(scope="session")
def text_config(tokenizer):
    """Of a Llama of 40,000 parameters."""
    from transformers import LlamaConfig

    return LlamaConfig(
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


VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="session")
def llama(tmp_path_factory, tokenizer, text_config):
    """A Llama chat model with random weights."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    LlamaForCausalLM(text_config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory, tokenizer, text_config):
    """A vision-language chat model that takes several images, with random weights."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("llava")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=text_config,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    template = (
        "{% for turn in messages %}{{ turn['role'] }}: {% for part in turn['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    )
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size=size, crop_size=size),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def blip2(tmp_path_factory, tokenizer):
    """A BLIP-2 captioner with an OPT decoder and random weights."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
        OPTConfig,
    )

    folder = tmp_path_factory.mktemp("blip2")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**VISION),
        qformer_config=Blip2QFormerConfig(**size, intermediate_size=64, encoder_hidden_size=32, vocab_size=50),
        text_config=OPTConfig(
            **size,
            vocab_size=len(tokenizer),
            ffn_dim=64,
            word_embed_proj_dim=32,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    Blip2Processor(image_processor=images, tokenizer=plain, num_query_tokens=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory, tokenizer):
    """A CLIP with random weights."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    folder = tmp_path_factory.mktemp("clip")
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    config = CLIPConfig(
        text_config={**size, "vocab_size": len(tokenizer), "max_position_embeddings": 40, **ids},
        vision_config=VISION,
        projection_dim=16,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    plain = copy.deepcopy(tokenizer)
    plain.chat_template, plain.model_max_length = None, 40
    size = {"height": 32, "width": 32}
    CLIPProcessor(image_processor=CLIPImageProcessor(size=size, crop_size=size), tokenizer=plain).save_pretrained(
        folder
    )
    return folder
