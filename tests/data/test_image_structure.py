"""Files that are small and would cost a decoder minutes: refused by their structure, before anything is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from idc_data.image_structure import check_structure, orientation
from idc_data.images import load_image, pixels_in
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(kind, image=None, **options):
    file = io.BytesIO()
    (image or Image.effect_noise((40, 30), 60).convert("RGB")).save(file, kind, **options)
    return file.getvalue()


PROGRESSIVE = saved("JPEG", progressive=True)
FIRST_SCAN = PROGRESSIVE.index(b"\xff\xda")
LAST_SCAN = PROGRESSIVE.rindex(b"\xff\xda")
SIGNATURE, HEADER, REST = (lambda data: (data[:8], data[8:33], data[33:]))(saved("PNG"))


def with_segments(*segments, jpeg=PROGRESSIVE):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def tags(kind, size, count):
    """EXIF or a TIFF of many tags, each of which claims bytes from the beginning on."""
    entries = b"".join(struct.pack("<HHII", 40_000 + tag, kind, size, 0) for tag in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)


def scans(count):
    return PROGRESSIVE[:-2] + PROGRESSIVE[LAST_SCAN:-2] * count + PROGRESSIVE[-2:]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(lambda: scans(10_000), "JPEG of more than 100 scans", id="scans"),
        pytest.param(lambda: with_segments(b"\xff\xe1\0\2" * 100_000), "more than 4,000 segments", id="markers"),
        pytest.param(
            lambda: PROGRESSIVE[:-2] + b"\xff\xfe\0\2" * 10_000 + PROGRESSIVE[-2:], "4,000 segments", id="late markers"
        ),
        pytest.param(lambda: with_segments(b"\xff\xca\0\2"), "arithmetic-coded", id="arithmetic coding"),
        pytest.param(
            lambda: SIGNATURE + HEADER + chunk(b"tEXt", b"a\0b") * 100_000 + REST, "small chunks", id="texts of a PNG"
        ),
        pytest.param(lambda: SIGNATURE + HEADER + chunk(b"IDAT", b"") * 100_000 + REST, "small chunks", id="IDAT"),
        pytest.param(
            lambda: saved("WEBP")[:12] + (b"JUNK" + bytes(4)) * 100_000 + saved("WEBP")[12:], "chunks", id="WebP"
        ),
        pytest.param(
            lambda: saved("GIF")[:13] + bytes(768) + b"!\xfe" + b"\1x" * 100_000, "blocks", id="GIF, one comment"
        ),
        pytest.param(lambda: tags(7, 600_000, 6_000) + bytes(600_000), "whose tags claim", id="tags of a TIFF"),
    ],
)
def test_a_small_file_that_would_cost_minutes_is_refused(data, told):
    with pytest.raises(ValueError, match=rf"the image is an? .*{told}"):
        load_image(data())


def test_the_pixels_of_a_file_are_counted_without_decoding():
    assert pixels_in(PROGRESSIVE) == pixels_in(PROGRESSIVE[:-200]) == 40 * 30
    assert pixels_in(scans(10_000)) == pixels_in(b"no image") == 0


def test_metadata_is_not_read_into_memory():
    """Pillow would read each of 5,000 tags of EXIF, 64 KB each: 320 MB for a file of 60."""
    exif = tags(7, 60_000, 5_000)
    bomb = with_segments(b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif)
    assert np.array_equal(load_image(bomb), load_image(PROGRESSIVE))
    structure = check_structure(bomb)
    assert structure.exif == exif and len(structure.data) < len(PROGRESSIVE) + 100
    assert orientation(exif) == orientation(b"") == orientation(b"Exif\0\0II*\0") == 1


def ultra():
    """A photo of a phone: EXIF, extended XMP, a profile in parts, Photoshop's segment, a second picture after it."""
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    photo, depth = Image.effect_noise((40, 30), 60).convert("RGB"), Image.effect_noise((20, 15), 60)
    photo.save(file, "MPO", save_all=True, append_images=[depth], exif=exif)
    segments = [b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_498)] * 80
    photoshop = b"\xff\xed" + struct.pack(">H", 26) + b"Photoshop 3.0\0" + b"8BIM" + bytes(6)
    return with_segments(*segments, photoshop, jpeg=file.getvalue())


def exif_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngInfo()
    for number in range(200):
        text.add_text(f"note {number}", "x" * 500, zip=True)
    return saved("PNG", exif=exif, pnginfo=text)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        pytest.param(saved("JPEG"), (30, 40, 3), id="baseline"),
        pytest.param(saved("JPEG", restart_marker_blocks=1), (30, 40, 3), id="restarts"),
        pytest.param(scans(50), (30, 40, 3), id="60 scans"),
        pytest.param(saved("JPEG", Image.new("CMYK", (40, 30))), (30, 40, 3), id="CMYK"),
        pytest.param(
            saved("JPEG", comment=b"x" * 60_000, exif=b"Exif\0\0" + bytes(60_000)), (30, 40, 3), id="comments"
        ),
        pytest.param(saved("JPEG", icc_profile=bytes(600_000)), (30, 40, 3), id="a profile of a printer"),
        pytest.param(b"\xff\xd8" + b"\xff" * 99 + saved("JPEG")[2:], (30, 40, 3), id="padding"),
        pytest.param(ultra(), (30, 40, 3), id="phone"),
        pytest.param(exif_png(), (40, 30, 3), id="PNG with texts"),
        pytest.param(
            saved("PNG", save_all=True, append_images=[Image.new("RGB", (40, 30))] * 9), (30, 40, 3), id="APNG"
        ),
        pytest.param(
            saved("WEBP", save_all=True, append_images=[Image.new("RGB", (40, 30))] * 9), (30, 40, 3), id="moving WebP"
        ),
        pytest.param(saved("GIF", comment=b"x" * 9_000), (30, 40, 3), id="GIF"),
        pytest.param(saved("TIFF", compression="tiff_lzw", tiffinfo={270: "x" * 9_000}), (30, 40, 3), id="TIFF"),
    ],
)
def test_files_as_they_are_in_the_world_are_read_as_pillow_reads_them(data, shape):
    assert load_image(data).shape == shape
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(0x0112, 1)
        plain = np.asarray(image.convert("RGB"))
    assert np.array_equal(load_image(data), {1: plain, 3: plain[::-1, ::-1], 6: np.rot90(plain, -1)}[turned])


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_half_a_file_is_damaged(kind, cut):
    data = saved(kind, Image.effect_noise((200, 200), 60).convert("RGB"))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(ValueError, match="the image is damaged or not an image"):
        load_image(data[: int(cut * len(data))])
