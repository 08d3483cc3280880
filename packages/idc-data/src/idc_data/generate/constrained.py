"""Constrained decoding: a local model can only write what a JSON schema allows, by xgrammar."""

import json
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

EXTRA = 'uv pip install "./packages/idc-data[constrained]"'


def check_installed() -> None:
    """Check that xgrammar is installed.

    Raises:
        ValueError: It is not.
    """
    if not find_spec("xgrammar"):
        raise ValueError(f"json_schema: true needs xgrammar, which is not installed; in the checkout: {EXTRA}")


def follow_schema(schema: dict[str, Any], tokenizer: Any, vocabulary: int) -> Any:
    """Return a logits processor for one call of `generate`, after which the text follows the schema.

    Text that is cut off by `max_new_tokens` follows it as far as it goes.

    Args:
        schema: A JSON schema.
        tokenizer: Of the model.
        vocabulary: Number of logits of the model, which may exceed the tokenizer's vocabulary.
    """
    from xgrammar.contrib.hf import LogitsProcessor  # pyright: ignore[reportMissingImports]

    return LogitsProcessor(_compiled(json.dumps(schema), tokenizer, vocabulary))


@lru_cache(maxsize=2)
def _compiled(schema: str, tokenizer: Any, vocabulary: int) -> Any:
    import xgrammar  # pyright: ignore[reportMissingImports]

    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
    # Spaces as in the examples of the prompt; with any space allowed, small models write spaces without end.
    return xgrammar.GrammarCompiler(info).compile_json_schema(
        schema, any_whitespace=False, separators=(", ", ": "), strict_mode=True
    )
