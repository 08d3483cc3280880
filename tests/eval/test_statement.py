import pytest
from idc_eval import read_statement
from idc_eval.statement import SENTENCES, NounPhrase, Statement

CUBE = NounPhrase({"shape": "cube"})


@pytest.mark.parametrize(
    ("change_type", "sentence"), [(kind, sentence) for kind, sentences in SENTENCES.items() for sentence in sentences]
)
def test_every_sentence_is_read_as_its_type(change_type, sentence):
    caption = sentence.replace("NP", "the tiny thing that is behind the grey block")
    caption = caption.replace("COLOR", "grey").replace("MATERIAL", "shiny").capitalize() + "."
    statement = read_statement(caption)
    assert statement is not None
    assert statement.change_type == change_type
    if "NP" in sentence:
        assert statement.thing == NounPhrase(
            {"size": "small"}, "behind", NounPhrase({"color": "gray", "shape": "cube"})
        )
    assert statement.value == {"color": "gray", "texture": "metal"}.get(change_type)


@pytest.mark.parametrize(
    ("caption", "statement"),
    [
        ("a new block appeared", Statement("add", CUBE)),
        ("an object was added", Statement("add", NounPhrase({}))),
        (
            "there is now a new big blue matte ball to the left of the cube",
            Statement(
                "add",
                NounPhrase(
                    {"size": "large", "color": "blue", "material": "rubber", "shape": "sphere"}, "left of", CUBE
                ),
            ),
        ),
        (
            "someone painted the cylinder in front of the red cube blue",
            Statement(
                "color",
                NounPhrase({"shape": "cylinder"}, "in front of", NounPhrase({"color": "red", "shape": "cube"})),
                "blue",
            ),
        ),
        ("the cube is now red", Statement("color", CUBE, "red")),
        ("the cube is now metallic", Statement("texture", CUBE, "metal")),
        ("the cube is no longer there", Statement("drop", CUBE)),
        ("", None),
        (".", None),
        ("the", None),
        ("the cube", None),
        ("the cube turned", None),
        ("the cube turned big", None),
        ("the red big cube moved", None),
        ("the red moved", None),
        ("cube moved", None),
        ("the cube moved moved", None),
        ("the cube left of a ball moved", None),
        ("the cube that is moved", None),
        ("the cube left of the ball right of the cylinder moved", None),
        ("the color of the cube changed to metal", None),
        ("the material of the cube changed to red", None),
        ("nothing has changed nothing", None),
        ("the <unk> moved", None),
        ("a building has been built", None),
    ],
)
def test_captions_are_read(caption, statement):
    assert read_statement(caption) == statement
