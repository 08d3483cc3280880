"""Language models of transformers as decoders: tiny ones with random weights, made on disk."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contract import Decoder
from idc_models.decoders.prefix_lm import PrefixLm
from idc_models.decoders.seq2seq_lm import Seq2SeqLm
from idc_models.decoding import generate
from idc_models.fitting import build_trained
from idc_models.frozen import without_frozen
from idc_models.testing import Vocabulary, check_decoder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:UserWarning:peft")]
transformers = pytest.importorskip("transformers")

CAUSAL = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "mistral": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "sliding_window": 4, "head_dim": 16},
    "gemma3_text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                    "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 4},
    "opt": {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "word_embed_proj_dim": 32, "max_position_embeddings": 64},
}  # fmt: skip
PAIRED = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 2, "num_heads": 4,
           "decoder_start_token_id": 0},
    "bart": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "decoder_start_token_id": 2},
}  # fmt: skip
ALL = {**CAUSAL, **PAIRED}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Make the folder of a model of some architecture, with 15 tokens, of which the tokenizer has 12."""
    root = tmp_path_factory.mktemp("lms")

    def folder(kind):
        if not (root / kind).exists():
            torch.manual_seed(0)
            auto = transformers.AutoModelForSeq2SeqLM if kind in PAIRED else transformers.AutoModelForCausalLM
            large = {"init_std" if kind in ("opt", "bart") else "initializer_range": 0.4}  # so that captions differ
            config = transformers.AutoConfig.for_model(kind, vocab_size=15, **ALL[kind], **large)
            auto.from_config(config).save_pretrained(root / kind)
        return str(root / kind)

    return folder


def plugin(kind):
    return Seq2SeqLm if kind in PAIRED else PrefixLm


def made(kind, folder, vocab, **settings):
    """A decoder with the weights of the folder, in double precision."""
    decoder = plugin(kind)(16, vocab, model=folder(kind), **settings)
    decoder.load_pretrained()
    return decoder.double().eval()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("tune", ["full", "lora"])
def test_the_contract_is_kept(kind, tune, folder):
    check_decoder(plugin(kind), model=folder(kind), tune=tune, rank=8)


def test_the_contract_is_kept_with_a_condensed_memory(folder):
    check_decoder(PrefixLm, model=folder("llama"), tune="frozen", prefix=3)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("how", [{}, {"beam": 3}, {"sample": True, "top_k": 5}, {"beam": 2, "length_penalty": 1.0}])
def test_with_its_cache_it_writes_what_it_writes_without(kind, how, folder, vocab):
    decoder, memory = made(kind, folder, vocab), torch.randn(3, 5, 16, dtype=torch.double)
    decoder.lm.register_forward_hook(endless)
    draws = {"draws": torch.rand(3, 20)} if "sample" in how else {}
    cached = generate(decoder, memory, max_length=9, **how, **draws)
    plain = Plain(decoder)
    again = generate(plain, memory, max_length=9, **how, **draws)
    assert torch.equal(cached.tokens, again.tokens) and plain.read == 9
    torch.testing.assert_close(cached.log_probs, again.log_probs, atol=1e-5, rtol=1e-5)


def endless(lm, given, read):
    """Keep a model from ending, so that captions are as long as they may be."""
    read.logits[..., Vocabulary().eos_id] = -9


class Plain(Decoder):
    """Reads all tokens anew at every step."""

    def __init__(self, decoder):
        super().__init__(16, decoder.vocab)
        self.decoder, self.read = decoder, 0

    def forward(self, memory, tokens):
        self.read += 1
        return self.decoder(memory, tokens)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_prefix_is_what_stands_before_the_words(kind, folder, vocab):
    decoder, memory = made(kind, folder, vocab), torch.randn(2, 5, 16, dtype=torch.double)
    tokens = torch.tensor([[1, 4, 5], [1, 6, 7]])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder(kind)).double().eval()
    words = torch.cat([decoder.project(memory), theirs.get_input_embeddings()(tokens)], dim=1)
    expected = theirs(inputs_embeds=words).logits[:, 5:, :12]
    torch.testing.assert_close(decoder(memory, tokens).logits, expected, atol=1e-9, rtol=1e-9)


def test_the_memory_takes_the_place_of_the_encoders_states(folder, vocab):
    decoder, memory = made("t5", folder, vocab), torch.randn(2, 5, 16, dtype=torch.double)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder("t5")).double().eval()
    states = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=decoder.project(memory))
    begun = torch.tensor([[0, 4, 5], [0, 6, 7]])  # a T5 begins with its padding
    expected = theirs(encoder_outputs=states, decoder_input_ids=begun).logits[..., :12]
    ours = decoder(memory, torch.tensor([[1, 4, 5], [1, 6, 7]])).logits
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_one_token_may_begin_end_and_pad(kind, folder):
    same = Vocabulary(size=12, pad_id=2, bos_id=2, eos_id=2)
    decoder, memory = made(kind, folder, same), torch.randn(2, 5, 16, dtype=torch.double)
    written = generate(decoder, memory, beam=2, max_length=4)
    assert written.tokens.shape[1] <= 4 and written.log_probs.isfinite().all()


def spec(decoder):
    return ModelSpec.model_validate(
        {"encoder": {"name": "cnn", "widths": [8, 8]}, "fusion": {"name": "difference", "dim": 16}, "decoder": decoder}
    )


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize(("tune", "learns"), [("lora", {"lora_A", "lora_B"}), ("frozen", set()), ("full", None)])
def test_a_checkpoint_holds_what_is_trained_and_its_spec_the_architecture(kind, tune, learns, folder, vocab, batch):
    name = "seq2seq-lm" if kind in PAIRED else "prefix-lm"
    chosen = spec({"name": name, "model": folder(kind), "tune": tune, "rank": 2}).completed()
    assert chosen.decoder.settings["config"]["model_type"] == kind
    model = build_captioner(chosen, vocab, {"caption": 1.0})
    weights, frozen = without_frozen(model.state_dict(), model.frozen)
    kept = {key.partition("decoder.lm.")[2] for key in weights if key.startswith("decoder.lm.")}
    if learns is None:
        assert not frozen and kept
    else:
        assert {part for key in kept for part in ("lora_A", "lora_B") if part in key} == learns
        assert all("lora_" in key for key in kept) and frozen["decoder"].origin == folder(kind)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.01)
    first = model(batch)["loss"]
    for _ in range(20):
        optimizer.zero_grad()
        (loss := model(batch)["loss"]).backward()
        optimizer.step()
    assert loss < first
    weights, frozen = without_frozen(model.state_dict(), model.frozen)  # what was frozen did not move
    again = build_trained(chosen, vocab, {"caption": 1.0}, weights, frozen)
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert ours.equal(theirs)


def test_a_model_that_holds_all_weights_needs_no_folder(folder, vocab, tmp_path):
    moved = shutil.copytree(folder("llama"), tmp_path / "lm")
    chosen = spec({"name": "prefix-lm", "model": str(moved), "rank": 2}).completed()
    model = build_captioner(chosen, vocab, None)
    weights, frozen = without_frozen(model.state_dict(), model.frozen)
    shutil.rmtree(moved)
    assert build_trained(ModelSpec.model_validate(chosen.model_dump()), vocab, None, model.state_dict())
    with pytest.raises(ValueError, match="frozen weights of the decoder.*cannot be loaded .*no folder") as caught:
        build_trained(chosen, vocab, None, weights, frozen)
    assert str(moved) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": "no/such-folder"}, "neither a folder with a config.json"),
        ({"config": {"model_type": "lama"}}, "is not an architecture"),
        ({"config": {"model_type": "t5"}}, "is not an architecture"),
        ({"model": "FOLDER", "targets": ["nothing"]}, "targets are"),
        ({"model": "FOLDER", "tune": "some"}, "tune"),
        ({"prompt": "What changed?"}, "cannot encode text"),
    ],
)
def test_mistakes_are_one_line(settings, told, folder, vocab, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = {key: folder("llama") if value == "FOLDER" else value for key, value in settings.items()}
    with pytest.raises(ValueError, match=told) as caught:
        build_captioner(spec({"name": "prefix-lm", **settings}), vocab, None)
    assert "\n" not in str(caught.value) or "validation error" in str(caught.value)


def test_more_tokens_than_the_model_has_are_an_error(folder):
    with pytest.raises(ValueError, match="has 15 tokens, but the tokenizer has 99.*name: hf"):
        PrefixLm(16, Vocabulary(size=99), model=folder("llama"))


@pytest.mark.parametrize(("library", "tune"), [("peft", "lora"), ("transformers", "frozen")])
def test_a_missing_library_is_named_with_what_installs_it(library, tune, folder, vocab, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=f"need the library {library}.*idc-models\\[lm\\]"):
        PrefixLm(16, vocab, model=folder("llama"), tune=tune)


def test_weights_of_another_architecture_are_named(folder, vocab):
    config = json.loads(Path(folder("llama"), "config.json").read_text()) | {"hidden_size": 64, "head_dim": 8}
    decoder = PrefixLm(16, vocab, model=folder("llama"), config=config)
    with pytest.raises(ValueError, match="expected \\[.*has the model changed"):
        decoder.load_pretrained()
