import io
import struct
import zlib

import numpy as np
import pytest
from idc_data import load_image
from idc_data.images import endings, image_files
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def png_header(width, height):
    """A PNG that claims a size and holds no pixels to speak of."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

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


def test_float_pixels_are_refused(tmp_path):
    path = save(Image.fromarray(np.zeros((3, 3), np.float32)), tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff.*32-bit"):
        load_image(path)


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp", "bmp"])
def test_any_truncation_names_the_file(tmp_path, noise, format):
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, format)
    whole = stream.getvalue()
    path = tmp_path / "cut.bin"
    for keep in (0, 1, 5, 20, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"cut\.bin' is damaged or no image"):
            load_image(path)


def test_a_bomb_is_refused_before_decoding():
    with pytest.raises(ValueError, match="9000 x 9000 pixels, more than the limit of 50,000,000"):
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
def test_metadata_that_pillow_fails_over_is_damage_too(content):
    with pytest.raises(ValueError, match="the image is damaged or no image: "):
        load_image(content)


def test_only_the_formats_asked_for_are_read():
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "GIF")
    with pytest.raises(ValueError, match="the image is damaged or no image"):
        load_image(file.getvalue(), formats=("PNG", "JPEG"))
    with pytest.raises(ValueError, match="the image has 2 x 2 pixels, more than the limit of 3; scale it down"):
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
    with pytest.raises(ValueError, match="no known format"):
        load_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
