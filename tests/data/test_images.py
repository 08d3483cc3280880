import io
import struct
import zlib

import numpy as np
import pytest
from idc_data import load_image
from idc_data.images import endings, image_files, load_pair
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG that claims a size and holds no pixels to speak of."""

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_rgb_comes_back_from_file_bytes_and_array(tmp_path, noise):
    path = save(Image.fromarray(noise), tmp_path / "a.png")
    for source in (path, path.read_bytes(), noise):
        assert np.array_equal(load_image(source), noise)


def test_exif_orientation_is_applied(tmp_path, noise):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned by 90 degrees clockwise
    path = save(Image.fromarray(noise), tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_image(path), np.rot90(noise, -1))


def test_transparency_lies_on_white(tmp_path):
    clear = save(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), tmp_path / "clear.png")
    half = save(Image.new("LA", (4, 4), (0, 128)), tmp_path / "half.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert (load_image(clear) == 255).all()
    assert abs(int(load_image(half)[0, 0, 0]) - 127) <= 1
    assert (load_image(save(palette, tmp_path / "p.png")) == (0, 255, 0)).all()
    assert (load_image(save(palette, tmp_path / "t.png", transparency=1)) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = save(Image.new("RGB", (5, 3), "white").convert(mode), tmp_path / "a.tiff")
    assert load_image(path).shape == (3, 5, 3)
    assert load_image(path).min() >= 250


def test_sixteen_bit_grey_is_scaled(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    assert load_image(save(Image.fromarray(values), tmp_path / "a.png"))[0, :, 0].tolist() == [0, 100, 255]


def tiff(values, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", **options)
    return file.getvalue()


def test_float_pixels_are_parts_of_one_or_refused():
    assert load_image(tiff(np.array([[0, 0.5, 1]], np.float32)))[0, :, 1].tolist() == [0, 128, 255]
    for values in ([0, 1.1], [-0.1, 0], [0, np.nan]):
        with pytest.raises(ValueError, match=r"float pixels.*expected 0 to 1"):
            load_image(tiff(np.array([values], np.float32)))
    with pytest.raises(ValueError, match=r"70000.*expected 0 to 65,535"):
        load_image(tiff(np.array([[0, 70_000]], np.int32)))


def png16(values):
    """A PNG of RGB with 16 bits, which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("write", [png16, lambda values: tiff(values[..., 0])], ids=["colours", "grey"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_that_use_the_lower_bits_of_sixteen_are_brought_to_the_full_range(write, bits):
    full = 2**bits - 1
    values = np.array([[[0] * 3, [full // 2] * 3, [full] * 3]], np.uint16)
    assert load_image(write(values))[0, :, 2].tolist() in ([0, 127, 255], [0, 128, 255])


@pytest.mark.parametrize("write", [png16, lambda values: tiff(values[..., 0])], ids=["colours", "grey"])
def test_a_pair_of_sixteen_bits_is_scaled_by_one_factor(write):
    """A darker image by itself would come out brighter: 900 is of 10 bits, 4,000 of 12."""
    dark = np.full((2, 3, 3), 900, np.uint16)
    bright = dark.copy()
    bright[0, 0] = 4_000
    before, after = load_pair(write(dark), write(bright))
    assert np.array_equal(before[1], after[1]) and before[0, 0, 0] == round(900 / 4095 * 255)
    assert after[0, 0, 0] == round(4_000 / 4095 * 255)
    eight = np.full((2, 3, 3), 9, np.uint8)
    assert np.array_equal(load_pair(eight, write(dark))[0], eight), "8 bits are what they are"
    wide = np.full((2, 3, 3), 65_000, np.uint16)
    assert load_pair(write(dark), write(wide))[0].max() == round(900 / 257), "and 16 where one image uses them"


def test_many_bands_are_refused_by_their_number():
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 13)]
    listed = b"".join(struct.pack("<HHIHH", *entry, 0) for entry in entries)
    with pytest.raises(ValueError, match="is a TIFF with 13 bands"):
        load_image(b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + bytes(200))


def profile(gamma, primaries):
    """An ICC profile (version 2) of a display, by its gamma and the XYZ of its primaries; no library writes any."""
    number = [struct.pack(">i", round(value * 65536)) for value in np.ravel(primaries)]
    curve = b"curv" + struct.pack(">III", 0, 1, round(gamma * 256) << 16)
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 2) + b"A\0" + bytes(90), b"cprt": b"text" + bytes(5)}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    for row, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(number[3 * row : 3 * row + 3])
        tags[name + b"TRC"] = curve
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + body


ADOBE = profile(2.19921875, [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_an_embedded_colour_profile_is_applied(kind):
    """The green of Adobe RGB lies outside of sRGB; as numbers it would be less green than it is."""
    image, file = Image.new("RGB", (16, 16), (100, 200, 100)), io.BytesIO()
    image.save(file, kind, icc_profile=ADOBE, lossless=True, quality=95)
    red, green, blue = load_image(file.getvalue())[8, 8].tolist()
    assert red < 40 and 198 <= green <= 204 and 90 < blue < 102
    file = io.BytesIO()
    image.convert("RGBA").save(file, "PNG", icc_profile=ADOBE)
    assert np.abs(load_image(file.getvalue())[8, 8].astype(int) - [red, green, blue]).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "LA"])
def test_a_profile_that_is_damaged_or_for_other_pixels_is_passed_over(mode):
    plain = Image.new("RGB", (4, 4), (90, 100, 110)).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    bare = io.BytesIO()
    plain.save(bare, kind)
    for given in (b"no profile", ADOBE[:200], ADOBE if mode not in ("RGB", "P") else b"", bytes(5_000_000)):
        file = io.BytesIO()
        plain.save(file, kind, icc_profile=given)
        assert np.array_equal(load_image(file.getvalue()), load_image(bare.getvalue()))


def test_pixels_in_srgb_stay_as_they_are(noise):
    file = io.BytesIO()
    Image.fromarray(noise).save(
        file, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert np.array_equal(load_image(file.getvalue()), noise)


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp", "bmp"])
def test_any_truncation_names_the_file(tmp_path, noise, format):
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, format)
    whole = stream.getvalue()
    path = tmp_path / "cut.bin"
    for keep in (0, 1, 5, 20, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"cut\.bin' is damaged or not an image"):
            load_image(path)


def test_a_bomb_is_refused_before_decoding():
    with pytest.raises(ValueError, match="9000 x 9000.*50,000,000"):
        load_image(png_header(9_000, 9_000))
    with pytest.raises(ValueError, match="too large"):
        load_image(png_header(60_000, 60_000))
    with pytest.raises(ValueError, match="10 x 10 pixels, more than the limit of 99"):
        load_image(png_header(10, 10), max_pixels=99)


def test_missing_file_and_wrong_array(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"float64 \(3, 3, 3\), expected uint8"):
        load_image(np.zeros((3, 3, 3)))


def texts_for_metadata():
    """PNG files whose texts Pillow takes for the metadata of that name, and fails over; and EXIF of wrong types."""
    for key, mode in (("transparency", "RGB"), ("transparency", "L"), ("xmp", "RGB"), ("exif", "RGB")):
        info = PngInfo()
        (info.add_itxt if key == "exif" else info.add_text)(key, "x")
        file = io.BytesIO()
        Image.new(mode, (4, 4)).save(file, "PNG", pnginfo=info)
        yield pytest.param(file.getvalue(), id=f"{key} of {mode}")
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    exif[0x0112], exif[0x010E], exif[0x8298] = 6, "a text", 99 * "y"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert b"\x01\x0e\0\x02" in file.getvalue()
    yield pytest.param(file.getvalue().replace(b"\x01\x0e\0\x02", b"\x01\x0e\0\x05"), id="a text that is a ratio")


@pytest.mark.parametrize("content", list(texts_for_metadata()))
def test_metadata_that_pillow_fails_over_does_no_harm(content):
    assert load_image(content).max() == 0


def test_only_the_formats_asked_for_are_read():
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "GIF")
    with pytest.raises(ValueError, match="the image is damaged or not an image"):
        load_image(file.getvalue(), formats=("PNG", "JPEG"))
    with pytest.raises(ValueError, match="2 x 2 pixels.*limit of 3.*scale it down"):
        load_image(file.getvalue(), max_pixels=3)


def test_images_are_listed_by_their_endings_and_what_a_system_leaves_is_not(tmp_path):
    given = {"b.png", "a.JPG", "c.jfif", "in/d.avif", "in/e.jp2", "f.ppm", "g.tga", "notes.txt", "h.pdf", "no_ending"}
    left = {"._b.png", ".DS_Store", "Thumbs.db", "__MACOSX/b.png", ".cache/b.png", "in/._d.avif"}
    for name in given | left:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    images, others = image_files(tmp_path)
    assert [str(path) for path in images] == ["a.JPG", "b.png", "c.jfif", "f.ppm", "g.tga", "in/d.avif", "in/e.jp2"]
    assert {str(path) for path in others} == {"notes.txt", "h.pdf", "no_ending"}


def test_formats_that_other_programs_decode_are_not_read():
    assert not {".eps", ".ps", ".wmf", ".mpg"} & endings()
    with pytest.raises(ValueError, match="any known format"):
        load_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


@pytest.mark.parametrize("brand", [b"heic", b"heim", b"hevc", b"mif1", b"msf1"])
def test_photos_of_phones_say_what_reads_them(monkeypatch, brand):
    monkeypatch.setattr("idc_data.images.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="HEIC.*uv pip install pillow-heif"):
        load_image(b"\0\0\0\x18ftyp" + brand + bytes(64))
