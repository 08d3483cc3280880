"""What nobody should send, sent to a served model: no 5xx, no leak, no growth, and the next good request is right.

`IDC_FUZZ=10000 pytest -m slow tests/run/test_fuzz.py` sends as many; CI sends a few hundred.
"""

import base64
import io
import json
import os
import socket
import struct
import zlib

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idc_models.serving.inference import PairCaptioner
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow"), pytest.mark.timeout(3600)]

REQUESTS = int(os.environ.get("IDC_FUZZ", "300"))
GOOD_EVERY = 50
LEAKS = ("Traceback", "site-packages", 'File "', "/root", "/home", "/tmp", ".py", "PATH=", "password")


def picture(kind="PNG", size=(24, 18), mode="RGB"):
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, kind)
    return file.getvalue()


def bomb(side):
    """A PNG of a few kilobytes whose pixels would take gigabytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def texted(key, mode="RGB", international=False):
    """A PNG with a text that Pillow takes for metadata of its own."""
    info, file = PngInfo(), io.BytesIO()
    (info.add_itxt if international else info.add_text)(key, "x")
    Image.new(mode, (4, 4)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def turned(kind, wrong_type=b"\x02"):
    """A picture with EXIF: an orientation, and a description, whose type may not be that of a text."""
    image, file = Image.effect_noise((24, 18), 60).convert("RGB"), io.BytesIO()
    exif = image.getexif()
    exif[0x0112], exif[0x010E], exif[0x8298] = 6, "a text", 99 * "y"
    image.save(file, kind, exif=exif.tobytes().replace(b"\x01\x0e\0\x02", b"\x01\x0e\0" + wrong_type))
    return file.getvalue()


WHOLE = [picture(), picture("JPEG"), picture("WEBP"), picture(mode="L"), picture(mode="RGBA"), picture(size=(1, 700))]
STRANGE = [
    picture("GIF"),
    picture("TIFF"),
    picture("BMP"),
    bomb(5_000),
    bomb(30_000),
    bomb(2**31 - 1),
    texted("transparency"),
    texted("transparency", "L"),
    texted("xmp"),
    texted("exif", international=True),
    turned("JPEG"),
    turned("PNG"),
    turned("WEBP"),
    turned("JPEG", wrong_type=b"\x05"),
    b"<svg/>",
    b"%PDF-1.7",
]


@st.composite
def files(draw):
    """Bytes that are an image, nearly one, or none."""
    data = bytearray(draw(st.sampled_from(WHOLE + STRANGE)))
    harm = draw(st.sampled_from(["none", "cut", "flip", "more", "none"]))
    if harm == "cut":
        data = data[: draw(st.integers(0, len(data) - 1))]
    elif harm == "flip":
        for at in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
            data[at] ^= draw(st.integers(1, 255))
    elif harm == "more":
        data += draw(st.binary(max_size=200))
    return bytes(data)


def address_of(trap):
    return f"http://127.0.0.1:{trap}/image.png"


def requests(trap):
    coded = files().map(lambda data: base64.b64encode(data).decode())
    texts = st.one_of(
        coded,
        coded.map(lambda text: f"data:image/png;base64,{text}"),
        coded.map(lambda text: text[:-3] + "\u2028"),
        st.sampled_from(
            ["", "/etc/passwd", "../../etc/passwd", "file:///etc/passwd", address_of(trap), "A" * 3_000_000]
        ),
        st.text(max_size=40),
    )
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), st.text(max_size=10))
    trees = st.recursive(
        odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    )
    cells = st.one_of(texts, texts, texts, trees)
    names = st.sampled_from(["before", "after", "before", "after", "index", "", "Before"])
    tables = st.one_of(
        st.fixed_dictionaries(
            {"columns": st.lists(names, max_size=3), "data": st.lists(st.lists(cells, max_size=3), max_size=3)}
        ),
        st.lists(st.fixed_dictionaries({"before": cells, "after": cells}), max_size=3),
        st.fixed_dictionaries({"before": st.lists(cells, max_size=3), "after": st.lists(cells, max_size=3)}),
        trees,
    )
    form = st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances", "messages", "params"])
    settings_ = st.dictionaries(
        st.sampled_from(
            ["beam", "max_length", "num_captions", "sample", "temperature", "seed", "change_map", "align", "x"]
        ),
        st.one_of(st.integers(-2, 300), odd),
        max_size=3,
    )
    asked = st.builds(
        lambda name, table, given: {name: table, "params": given}, form, tables, st.one_of(settings_, trees)
    )
    return st.one_of(
        asked.map(lambda body: json.dumps(body).encode()),
        asked.map(lambda body: json.dumps(body).encode()),
        st.tuples(asked, st.integers(0, 400)).map(lambda both: json.dumps(both[0]).encode()[: both[1]]),
        trees.map(lambda body: json.dumps(body).encode()),
        st.integers(1, 100_000).map(lambda depth: b"[" * depth),
        st.integers(1, 20_000).map(lambda depth: b'{"inputs":' * depth + b"1" + b"}" * depth),
        st.integers(300, 10_000).map(lambda digits: b'{"inputs": ' + b"9" * digits + b"}"),
        st.binary(max_size=300),
    )  # fmt: skip


def test_nothing_that_is_sent_breaks_the_server(served, registered):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        pair = {"before": base64.b64encode(WHOLE[0]).decode(), "after": base64.b64encode(WHOLE[1]).decode()}
        [expected] = PairCaptioner(registered.result.checkpoint).caption([(WHOLE[0], WHOLE[1])])
        processes = [psutil.Process(served.pid), *psutil.Process(served.pid).children(recursive=True)]
        seen = {"requests": 0, "memory": 0}

        def memory():
            return sum(process.memory_info().rss for process in processes)

        def good():
            status, reply = served.post({"inputs": [pair]})
            assert status == 200 and reply["predictions"][0]["caption"] == expected.caption

        @settings(
            max_examples=REQUESTS,
            deadline=None,
            database=None,
            derandomize="IDC_FUZZ" not in os.environ,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            requests(trap.getsockname()[1]),
            st.sampled_from(["application/json"] * 6 + ["text/csv", "application/json; charset=utf-16", "a/b", ""]),
        )
        def send(body, kind):
            status, reply = served.post(body, kind)
            assert status == 200 or 400 <= status < 500, (status, reply)
            if status != 200:
                message = json.loads(reply)["message"]
                assert 0 < len(message) <= 300 and "\n" not in message
                sent = body.decode(errors="replace")
                assert not any(leak in message and leak not in sent for leak in LEAKS), message
            seen["requests"] += 1
            if seen["requests"] % GOOD_EVERY == 0:
                good()
            if seen["requests"] == REQUESTS // 3:
                seen["memory"] = memory()

        send()
        good()
        growth = memory() / seen["memory"] - 1
        print(f"{seen['requests']} requests; memory {seen['memory'] >> 20} MiB after a third, {growth:+.1%} at the end")
        assert growth < 0.1
        with pytest.raises(BlockingIOError):  # nobody has come
            trap.accept()
