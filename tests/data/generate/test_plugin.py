"""A captioner and a writer of one's own."""

import re
from pathlib import Path

from idc_data.generate.collect import ImageFolder, collect
from idc_data.generate.spec import load_generate_spec

PAGE = Path(__file__).parents[3] / "docs" / "generate.md"
SPEC = "name: try\nout: out\ncollect: {{name: folder, root: {}}}\ncaption: {{name: 'colours:Colours', thing: photo}}\n"


def test_the_captioner_of_the_page_is_found_beside_the_spec_and_captions(tmp_path, photos):
    (code,) = re.findall(r"```python\n(# colours\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(code.splitlines()) <= 35
    (tmp_path / "colours.py").write_text(code)
    (tmp_path / "try.yaml").write_text(SPEC.format(photos))
    captioner, settings = load_generate_spec(tmp_path / "try.yaml").part("caption")
    images = collect(photos, ImageFolder(root=photos).paths(), lambda what, description, length: what)[0]
    rows = captioner(**settings)(images, photos, None)
    assert [row["image"] for row in rows] == [row["image"] for row in images]
    assert all(re.fullmatch("a (red|green|blue|grey) photo", row["captions"][0]) for row in rows)
