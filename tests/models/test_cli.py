import pytest
from click.testing import CliRunner
from idc_models.cli import main


def run(*arguments):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_list_shows_everything_installed():
    result = run("list")
    assert result.exit_code == 0
    for words in ("concat-difference", "transformer", "idc-models", "Decodes with a GRU"):
        assert words in result.output


def test_check_prints_every_promise():
    result = run("check", "caption")
    assert result.exit_code == 0
    assert "ok  gradients: Every trainable parameter gets a finite gradient." in result.output


def test_check_a_class_that_breaks_the_contract():
    result = run("check", "idc_models.contract:Decoder", "--kind", "decoder")
    assert result.exit_code == 1
    assert "broken  logits shape: NotImplementedError" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfomer"], "error: unknown plugin 'transfomer'; did you mean 'transformer'?"),
        (["transfomer", "--kind", "decoder"], "error: unknown decoder 'transfomer'"),
        (["idc_models.contract:Decoder"], "'idc_models.contract:Decoder'; add --kind"),
    ],
)
def test_a_name_nobody_has(arguments, message):
    result = run("check", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
