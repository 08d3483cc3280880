"""Pairs are mirrored only where no caption mentions a side, in whatever language."""

import pytest
from idc_data import Folder, write_layout
from idc_data.loader import train_batches
from idc_data.sides import unsafe
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words

SIDED = [
    "the western house is gone",
    "it turned clockwise",
    "il quadrato a sinistra si è spostato a destra",
    "la maison est apparue à l’est de la route",
    "la casa al este ha desaparecido",
    "o carro à esquerda foi removido",
    "das Haus ist rechts verschwunden",
    "de auto is naar links verplaatst",
    "dom po lewej stronie nie jest na zdjęciu",
    "дом слева исчез",
    "будинок праворуч зник",
    "το σπίτι αριστερά έφυγε",
    "הבית משמאל נעלם",
    "اختفى القط على اليسار",
    "خانه سمت راست ناپدید شد",
    "左侧的方块移到了右侧",
    "房子的东边有一棵树",
    "左の木が消えた",
    "나무가 왼쪽에서 사라졌다",
    "แมวนั่งอยู่ทางซ้าย",
    "seta ini di kiri dan tidak ada",
]
# As Unicode CLDR calls the arrows U+2B05 and U+27A1 (annotations, as the package emoji carries them), in Latin letters
# with an ordinary word.
ARROWS = [
    *("freccia rivolta a sinistra di", "flèche gauche dans la", "flecha hacia la izquierda", "seta para a esquerda do"),
    *(
        "pfeil nach links ist",
        "sol ok bir",
        "tanda panah kiri di",
        "стрелка влево",
        "向左箭头",
        "左矢印",
        "좌향 화살표",
    ),
    *("سهم لليسار", "پیکان چپ", "flèche droite dans la", "pfeil nach rechts ist", "sağ ok bir", "стрелка вправо"),
    *("向右箭头", "우향 화살표", "سهم لليمين", "پیکان راست"),
]
PLAIN = [
    ["the building was destroyed", "building destroyed", "vase on table", "the solid vase is gone", "square moved"],
    ["nessun cambiamento", "la casa è sparita"],
    ["la maison est apparue"],
    ["el coche de este lado ha desaparecido"],
    ["das Haus ist verschwunden"],
    ["дом исчез"],
    ["东西不见了", "树消失了"],
    ["木が消えた"],
    ["나무가 사라졌다"],
    ["اختفى القط"],
    ["3 4"],
]


@pytest.mark.parametrize("caption", [*SIDED, *ARROWS])
def test_words_for_sides_are_found(caption):
    assert "mentions a side" in unsafe([caption])


@pytest.mark.parametrize("captions", PLAIN, ids=lambda captions: captions[0])
def test_captions_without_a_side_are_safe(captions):
    assert unsafe(captions) == ""


@pytest.mark.parametrize("caption", ["গাছটি অদৃশ্য", "nyumba kushoto imetoweka", "kvadratas dingo"])
def test_languages_that_are_not_read_are_not_safe(caption):
    assert "whose words for sides are not known" in unsafe([caption])


def test_one_caption_among_many_is_found_before_training(tmp_path, make_example):
    examples = [make_example(n) for n in range(9)]
    write_layout(tmp_path, [*examples, make_example(9, references=("la casa è sparita", "the left one is gone"))])
    reader = Folder("train", root=tmp_path)
    tokenizer = Words.train(["a"], max_length=9)
    spec = DataSpec(batch_size=2, image_size=16, workers=0)
    with pytest.raises(ValueError, match="flip.*left one.*data.flip=safe"):
        train_batches(reader, tokenizer, spec.model_copy(update={"flip": True}), seed=0)
    next(train_batches(reader, tokenizer, DataSpec(**spec.model_dump() | {"flip": "safe"}), seed=0))
    reader.mirror_safe = True  # a reader may know it
    next(train_batches(reader, tokenizer, spec.model_copy(update={"flip": True}), seed=0))
