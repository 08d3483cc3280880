"""Prompts as turns, and how a writer asks them."""

import json
from pathlib import Path

import pytest
from idc_data.generate.answer import read_answer
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Local, Said
from idc_data.generate.chat_writer import ChatWriter
from idc_data.generate.difference import Captioned, NearlyAllRejected
from idc_data.generate.estimate import estimated, placeholder
from idc_data.generate.models import without_system
from idc_data.generate.prompt import PROMPTS, Prompt

GOOD = json.dumps({"caption": "the dog is gone", "change_type": "drop", "confidence": 0.9})


class Model:
    """Answers as it is told, and remembers what it was asked."""

    batch_size, in_process, prices = 8, False, (1.0, 10.0)
    identity = {"max_new_tokens": 100}

    def __init__(self, answer=lambda question: GOOD):
        self.asked, self._answer = [], answer

    def ask(self, questions):
        self.asked += [question.content for question in questions]
        yield [(at, Said(self._answer(question), 10, 5)) for at, question in enumerate(questions)]


def pairs(num):
    return [Captioned(f"b{n}", f"a{n}", ("b", "a"), (f"dog {n}\n[user]",), ("a lawn",)) for n in range(num)]


def writer(model, prompt, **settings):
    settings = {"draft": None, "references": 1, "both_orders": False, "most_rejected": 0.95, **settings}
    return ChatWriter(model, Path(prompt), **settings)


@pytest.fixture
def asking(tmp_path):
    return Asking(Answers(tmp_path / "answers.sqlite"), Local(), lambda what, description, length: what)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("draft", ["", "the dog is gone"])
@pytest.mark.parametrize("name", PROMPTS)
def test_every_prompt_shows_both_captions_the_draft_and_usable_examples(name, draft, references):
    turns = Prompt(Path(name)).turns(["a zebra"], ["an okapi", "a giraffe"], references=references, draft=draft)
    asked = "".join(turn["content"] for turn in turns if turn["role"] == "user")
    assert all(word in asked for word in ("zebra", "okapi", "giraffe")) and (not draft or draft in asked)
    examples = [turn["content"] for turn in turns if turn["role"] == "assistant" and "{" in turn["content"]]
    assert len(examples) == (3 if name in ("examples", "staged") else 0)
    assert not [text for text in examples if isinstance(read_answer(text, references), str)]


def test_a_template_without_turns_is_one_turn_of_the_user(tmp_path):
    (tmp_path / "my.jinja").write_text("What changed from {{ before }} to {{ after }}?")
    assert Prompt(tmp_path / "my.jinja").turns(["a", "x"], ["b"]) == [
        {"role": "user", "content": "What changed from a to b?"}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ befor }}", "cannot be rendered: 'befor' is undefined"),
        ("{% for %}", "cannot be rendered"),
        ("hello\n[user]\n{{ before }}", "text above its first turn: 'hello'"),
        ("[user]\n{{ before }}\n[assistant]\n", "has to end with a turn of the user"),
    ],
)
def test_mistakes_in_a_template(tmp_path, text, message):
    (tmp_path / "my.jinja").write_text(text)
    with pytest.raises(ValueError, match=message):
        Prompt(tmp_path / "my.jinja")


def test_an_unknown_prompt_is_told_what_there_is():
    with pytest.raises(ValueError, match="did you mean 'examples'"):
        Prompt(Path("exampls"))


def test_a_staged_prompt_asks_twice_and_shows_the_first_answer(asking):
    model = Model(lambda question: "only a dog" if question.content.get("free") else GOOD)
    (written,) = writer(model, "staged")(pairs(1), asking)
    assert written.references == ("the dog is gone",)
    first, second = (content["chat"] for content in model.asked)
    assert first == second[: len(first)] and second[len(first)] == {"role": "assistant", "content": "only a dog"}
    assert second[-1]["role"] == "user" and len(second) == len(first) + 2


def test_images_belong_to_the_turn_after_the_examples(asking):
    model = Model()
    for prompt in ("examples", "staged", "images"):
        writer(model, prompt, images=True)(pairs(1), asking)
        turns = model.asked[-1]["chat"]
        (about,) = [turn["content"] for turn in turns if turn.get("images")]
        assert "dog 0" in about and model.asked[-1]["images"] == ["b0", "a0"]


def test_a_draft_of_the_rules_is_shown(asking):
    model = Model()
    writer(model, "examples", draft="rules")(pairs(1), asking)
    draft = model.asked[0]["chat"][-1]["content"].splitlines()[-1]
    assert draft.startswith("Draft: ") and "replaced by a lawn" in draft


def test_a_model_whose_answers_are_nearly_all_useless_is_given_up(asking):
    model = Model(lambda question: "I would rather not.")
    with pytest.raises(NearlyAllRejected, match="64 of the first 64 pairs") as caught:
        writer(model, "plain")(pairs(200), asking)
    assert len(model.asked) == 128, "each of the first pairs, and its repair"
    assert len(caught.value.rejected) == 64 and "I would rather not." in str(caught.value)
    assert len(writer(model, "plain", most_rejected=1)(pairs(200), asking)) == 200


def test_the_estimate_counts_every_pair_with_repairs_tokens_and_cost(asking):
    class Captioner:
        def to_ask(self, images, root):
            return []

    some = [Captioned(f"b{n}", f"a{n}", ("b", "a"), (placeholder(n),), ("a lawn",)) for n in range(40)]
    model = Model()
    lines = list(estimated(Captioner(), writer(model, "plain", both_orders=True), [], Path(), some, asking))
    assert lines[0] == "caption    no model"
    assert lines[1].startswith("difference 80 questions and at most 80 repairs; minutes are known once")
    assert "at most 8,000 to write, cost 0." in lines[1] and "with all repairs" in lines[1]
    assert lines[2].startswith("the first prompt:\n  | [user]")
    writer(model, "plain")(some[:10], asking)
    lines = list(estimated(Captioner(), writer(model, "plain"), [], Path(), some, asking))
    assert lines[1].startswith(
        "difference 30 questions and at most 30 repairs, 10 more are answered or repeat another; about "
    )
    assert "300 tokens to read and 150 to write" in lines[1]
    first, second = list(estimated(Captioner(), writer(model, "staged"), [], Path(), some, asking))[1:3]
    assert "repairs" not in first and "40 questions and at most 40 repairs" in second


def test_a_template_that_refuses_the_system_gets_its_words_in_the_first_turn():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert without_system(chat) == [{"role": "user", "content": "Be brief.\n\nHello"}]
