"""Captions in other languages than English: right figures, or none and the reason, never wrong ones."""

import json
import unicodedata

import pytest
from click.testing import CliRunner
from idc_eval import Prediction, find_protocol, score, write_predictions
from idc_eval.changed import ChangeReader, claims_change
from idc_eval.cli import main
from idc_eval.report_data import outcomes
from idc_eval.scripts import count_words, split_characters, without_blanks

RATES = ["false_alarm_rate", "miss_rate"]
CAPTIONS = {
    "English": (["there is no difference", "nothing has changed"], ["the red car is gone", "a new house was built"]),
    "Italian": (
        ["nessuna differenza", "la scena è identica"],
        ["l'auto rossa è scomparsa", "è stata costruita una casa"],
    ),
    "German": (["Es gibt keine Änderung.", "Alles ist gleich."], ["Das rote Auto ist weg.", "Ein Haus wurde gebaut."]),
    "French": (["aucun changement", "rien n'a changé"], ["la voiture rouge a disparu", "une maison a été construite"]),
    "Spanish": (["no hay cambios", "todo sigue igual"], ["el coche rojo ha desaparecido", "hay una casa nueva"]),
    "Chinese": (["没有变化", "场景没有任何变化"], ["红色的车不见了", "路边新建了一座房子"]),
    "Japanese": (["変化はありません", "変化なし"], ["赤い車がなくなった", "新しい家が建てられた"]),
    "Thai": (["ไม่มีการเปลี่ยนแปลง", "ไม่มีความแตกต่าง"], ["รถสีแดงหายไป", "มีบ้านใหม่"]),
    "Arabic": (["لا يوجد تغيير", "لم يتغير شيء"], ["اختفت السيارة الحمراء", "تم بناء منزل جديد"]),
    "Russian": (["изменений нет", "ничего не изменилось"], ["красная машина исчезла", "построен новый дом"]),
}
WITHOUT_BLANKS = {"Chinese", "Japanese", "Thai"}


def pairs(language, *, labels=(False, True)):
    """Two unchanged and two changed pairs, each captioned in the words of its reference, in both orders."""
    return [
        Prediction(
            id=f"{changed} {row}",
            hypothesis=caption,
            references=[caption],
            changed=changed,
            swapped=caption if not changed else "the red car has appeared" if language == "English" else caption,
        )
        for changed, captions in zip((False, True), CAPTIONS[language], strict=True)
        if changed in labels
        for row, caption in enumerate(captions)
    ]


@pytest.mark.parametrize("language", CAPTIONS)
def test_right_captions_are_no_false_alarms_and_no_misses_in_any_language(language):
    scores = score(pairs(language), [*RATES, "swap_consistency"])
    assert scores.values.get("false_alarm_rate", 0.0) == 0 and scores.values.get("miss_rate", 0.0) == 0
    assert set(scores.values) >= set(RATES) if language == "English" else not scores.values
    assert all("English" in scores.skipped[name] for name in RATES if language != "English")


@pytest.mark.parametrize("language", [name for name in CAPTIONS if name != "English"])
def test_a_list_of_no_change_sentences_makes_a_language_readable(language):
    said = pairs(language)
    wrong = [*said, said[0].model_copy(update={"id": "5", "hypothesis": CAPTIONS[language][1][0]})]
    scores = score(
        wrong, [*RATES, "swap_consistency"], no_change=[text.upper() + "!" for text in CAPTIONS[language][0]]
    )
    assert scores.values == {"false_alarm_rate": pytest.approx(1 / 3), "miss_rate": 0.0}
    assert "English" in scores.skipped["swap_consistency"]  # the kind of change is read by English words
    assert scores.details["no_change"]
    assert outcomes(wrong, score(wrong, RATES, no_change=CAPTIONS[language][0]))[-1] == "false alarm"
    assert set(outcomes(wrong, score(wrong, RATES))) == {"not judged"}


@pytest.mark.parametrize("label", [True, False])
def test_pairs_of_one_kind_are_judged_only_where_the_captions_look_english(label):
    """Were there only changed pairs, every Italian caption would count as a change and no check would fail."""
    name = RATES[label]
    assert name in score(pairs("English", labels=[label]), [name]).values
    assert name in score(pairs("Italian", labels=[label]), [name]).skipped
    assert name in score(pairs("Italian", labels=[label]), [name], no_change=CAPTIONS["Italian"][0]).values


def test_the_reader_tries_itself_on_the_references_of_all_pairs_that_there_are():
    """Under a protocol of changed pairs, unchanged ones still show whether it reads the language."""
    said = [p.model_copy(update={"change_type": "add" if p.changed else "none"}) for p in pairs("Italian")]
    assert "miss_rate" in score(said, ["miss_rate"], protocol="scenes/semantic").skipped


def test_labels_that_the_captions_contradict_are_no_ground_for_rates():
    doubt = ChangeReader([p.model_copy(update={"changed": True}) for p in pairs("English")]).doubt
    assert "2 of 4 references of changed pairs" in doubt and "labelled wrongly" in doubt
    mostly = [p for row in range(20) for p in pairs("English")]
    mostly[1] = mostly[1].model_copy(update={"references": ["a street with trees"]})
    assert not ChangeReader(mostly).doubt


def test_text_without_latin_letters_is_not_taken_for_no_change():
    assert claims_change("红色的车不见了") and not claims_change("...") and not claims_change("")


def test_facts_of_scenes_do_not_judge_captions_in_another_language(truth):
    moved = truth | {"change_type": "move", "changed_before": 0, "changed_after": 0}
    italian = Prediction(
        id="1", hypothesis="il cubo si è spostato", references=["il cubo è stato spostato"], truth=moved
    )
    skipped = score([italian], ["statement_accuracy", "attribute_accuracy"]).skipped
    assert all("English grammar of procedural scenes" in why for why in skipped.values()) and len(skipped) == 2
    english = italian.model_copy(update={"references": ["the cube moved"] * 2})
    assert score([english], ["statement_accuracy"]).values == {"statement_accuracy": 0.0}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("路边新建了一座房子。", "路 边 新 建 了 一 座 房 子"),
        ("新しいTシャツ、2枚", "新 し い t シ ャ ツ 2 枚"),
        ("มีบ้าน", "มี บ้ า น"),
        ("A red Car, parked", "a red car parked"),
        ("변화가 없다", "변화가 없다"),
        ("…!", ""),
    ],
)
def test_characters_are_words_where_no_blanks_are_and_other_words_stay_whole(caption, words):
    assert split_characters(caption) == unicodedata.normalize("NFKC", words)
    if without_blanks([caption]):
        assert count_words(caption) == len(words.split())


@pytest.mark.parametrize("language", CAPTIONS)
def test_plain_says_once_where_it_finds_no_words_and_names_the_protocol_that_does(language):
    note = score(pairs(language), ["bleu-1"]).details["note"]
    assert ("plain/characters" in note) == (language in WITHOUT_BLANKS)
    by_character = score(pairs(language), ["bleu-4", "cider"], protocol="plain/characters")
    assert by_character.details["note"] == "" and "character" in by_character.tokenizer
    assert by_character.values["cider"] > 0.9


def test_half_right_chinese_is_half_right_by_characters_and_wrong_as_one_word():
    said = [
        Prediction(id="1", hypothesis="路边有一座房子", references=["路边有一座小桥"]),
        Prediction(id="2", hypothesis="红色的车不见了", references=["红色的船不见了"]),
    ]
    assert score(said, ["bleu-1"]).values["bleu-1"] < 0.01
    assert score(said, ["bleu-1"], protocol="plain/characters").values["bleu-1"] == pytest.approx(11 / 14)
    assert find_protocol("plain/characters/mine").words == "characters"


def test_the_commands_take_a_file_of_sentences_and_a_report_remembers_them(tmp_path):
    write_predictions(tmp_path / "predictions.jsonl", pairs("Italian"))
    sentences = tmp_path / "no_change.txt"
    sentences.write_bytes("\ufeffnessuna differenza\r\n\r\nè identica\r\n".encode())
    file = str(tmp_path / "predictions.jsonl")

    def run(*arguments):
        return CliRunner().invoke(main, [*arguments, "--no-change", str(sentences)])

    ended = run("score", file, "--metrics", "false_alarm_rate,miss_rate", "--json")
    assert json.loads(ended.stdout)["values"] == {"false_alarm_rate": 0.0, "miss_rate": 0.0}
    (tmp_path / "scores.json").write_text(ended.stdout)
    for command in (["compare", str(tmp_path), str(tmp_path), "--draws", "100"], ["seeds", str(tmp_path)]):
        again = CliRunner().invoke(main, [*command, "--metrics", "miss_rate", "--json"])
        assert [row["metric"] for row in json.loads(again.stdout)["metrics"]] == ["miss_rate"]
    assert CliRunner().invoke(main, ["report", str(tmp_path)]).exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(next(line for line in page.split("\n") if line.startswith("const data"))[13:-1])
    assert {metric["name"] for metric in data["metrics"]} == set(RATES)
    sentences.write_text("\n")
    refused = run("score", file)
    assert refused.exit_code == 2 and "is empty" in refused.stderr
