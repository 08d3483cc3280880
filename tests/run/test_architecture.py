import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "idc_data": ROOT / "packages/idc-data/src",
    "idc_models": ROOT / "packages/idc-models/src",
    "idc_eval": ROOT / "packages/idc-eval/src",
    "idc_run": ROOT / "src",
}
HEAVY = {"torch", "torchvision", "timm", "transformers", "mlflow", "numba", "matplotlib", "pandas", "pycocoevalcap"}
COMMANDS = [
    entry.name
    for package in SOURCES
    for entry in distribution(package.replace("_", "-")).entry_points
    if entry.group == "console_scripts"
]


def imports(package):
    """Top-level names of the modules that a package imports, anywhere in its files."""
    found = {}
    for path in sorted((SOURCES[package] / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import"
                names = [node.module or ""]
            found |= {name.partition(".")[0]: f"{path}:{node.lineno}" for name in names}
    return found


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("idc_data", {"idc_models", "idc_eval", "idc_run", "mlflow", "pickle"}),
        ("idc_models", {"idc_eval", "idc_run", "mlflow", "pickle"}),
        ("idc_eval", {"idc_data", "idc_models", "idc_run", "mlflow", "pickle"}),
        ("idc_run", {"pickle", "cloudpickle", "dill"}),
    ],
)
def test_a_package_imports_only_what_it_may(package, never):
    found = imports(package)
    assert package in found, "the walk found no file"
    assert {name: where for name, where in found.items() if name in never} == {}


#: Of idc_run, from the ground up: a file imports from its own floor and from those below it. What lies in no room is
#: named here.
FLOORS = [
    {"spec", "space", "checkpoint", "progress", "address"},
    {"tracking"},
    {"console", "errors"},
    {"training"},
    {"sweeps"},
    {"cli", "__main__"},
]


def test_rooms_import_downwards_only():
    """Serving stands beside training and sweeps: it knows neither of them."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms} | {"serving": 3}
    for path in sorted((SOURCES["idc_run"] / "idc_run").rglob("*.py")):
        inside = path.relative_to(SOURCES["idc_run"] / "idc_run").with_suffix("").parts
        if inside == ("__init__",):
            continue
        allowed = floor[inside[0]]
        text = re.sub(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", "", path.read_text(), flags=re.M)
        for name in re.findall(r"^\s*(?:import|from) idc_run\.(\w+)", text, re.M):
            beside = {inside[0], name} & {"serving"} and inside[0] != name and "cli" not in inside
            assert floor[name] <= allowed and not (beside and floor[name] == allowed), f"{path}: imports {name}"


def test_one_room_talks_to_mlflow():
    """`served_model` is what MLflow runs; everything else asks the modules that tracking/__init__.py names."""
    root = SOURCES["idc_run"] / "idc_run"
    doors = set(re.findall(r"`(\w+)`", (root / "tracking/__init__.py").read_text()))
    doors |= {"naming", "generation", "pictures"}  # names, links and lettering, which know nothing of MLflow
    for path in sorted(root.rglob("*.py")):
        room, text = path.relative_to(root).parts[0], path.read_text()
        if room == "tracking" or path.name == "served_model.py":
            continue
        assert not re.search(r"^\s*(?:import|from) mlflow\b", text, re.M), path
        whole = set(re.findall(r"^\s*from idc_run\.tracking\.(\w+) import", text, re.M))
        named = re.findall(r"^\s*from idc_run\.tracking import (.*)", text, re.M)
        asked = {word.strip() for line in named for word in line.split(",")} | whole - {"store"}
        assert asked <= doors, path
        assert set(re.findall(r"tracking\.store import (.*)", text)) <= {"store"}, path


def test_idc_models_knows_the_light_part_of_idc_data_only():
    """Images, tokenizers and small files: a served model carries it, and needs no numba, faiss or datasets."""
    known = {
        module
        for path in (SOURCES["idc_models"] / "idc_models").rglob("*.py")
        for module in re.findall(r"^\s*(?:import|from) (idc_data[.\w]*)", path.read_text(), re.M)
    }
    light = {
        "hub",
        "images",
        "installed",
        "mistakes",
        "named",
        "strict_yaml",
        "tokenizers",
        "tokenizers.words",
        "whole",
        "wording",
    }
    assert known == {f"idc_data.{name}" for name in light}


def test_the_image_reader_loads_numpy_and_pillow_only():
    light = {"numpy", "PIL", "jaxtyping", "idc_data"}
    program = (
        "import sys\nbefore = set(sys.modules)\nimport idc_data.images\n"
        "new = {name.partition('.')[0] for name in sys.modules.keys() - before}\n"
        f"sys.exit(', '.join(sorted(name for name in new - {light} if name in "
        "('torch', 'numba', 'pydantic', 'tokenizers', 'click', 'rich'))))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == ""


def test_one_file_of_idc_eval_knows_torch():
    """The metrics that are models; everything else scores without it."""
    torch = {
        path.name
        for path in (SOURCES["idc_eval"] / "idc_eval").rglob("*.py")
        if re.search(r"^\s*(?:import|from) (?:torch|torchmetrics|transformers)\b", path.read_text(), re.M)
    }
    assert torch == {"learned.py"}


def test_the_runner_begins_without_what_takes_seconds_to_load():
    heavy = ("torchmetrics", "torchvision", "transformers", "matplotlib", "mlflow")
    program = f"import sys, idc_run.training.experiment\nsys.exit(', '.join(sys.modules.keys() & {set(heavy)}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == ""


def test_idc_eval_loads_no_torch():
    program = "import sys, pkgutil, importlib, idc_eval\n" + (
        "for module in pkgutil.walk_packages(idc_eval.__path__, 'idc_eval.'): importlib.import_module(module.name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_one_source_names_torch_load_and_runs_nothing_of_what_it_reads():
    texts = {path: path.read_text() for package, source in SOURCES.items() for path in (source / package).rglob("*.py")}
    (reads,) = [path for path, text in texts.items() if "torch.load(" in text]
    assert reads.parent.name == "importing" and re.findall(r"torch\.load\(.*\)", texts[reads]) == [
        'torch.load(path, map_location="cpu", weights_only=True)'
    ]


def private_names(tree):
    """Names with a leading underscore that a test file takes from elsewhere, with their lines."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own |= {each.attr for each in attributes if isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self"}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute) and node.attr not in own:
            names = [node.attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")).endswith("attr"):
            said = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            names = [part for text in said for part in re.split("[.:]", text)]  # monkeypatch.setattr("a.b._c", ...)
        yield from ((name, node.lineno) for name in names if re.match("_(?!_|$)", name))


def test_tests_know_no_private_names():
    """What a name with a leading underscore does can change on any day; tests say what a user or a caller sees."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/**/tests/**/*.py")]
    found = {
        f"{path.relative_to(ROOT)}:{line}": name
        for path in files
        for name, line in private_names(ast.parse(path.read_text()))
    }
    assert len(files) > 100 and not found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    script = Path(sys.executable).with_name(command)
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--help"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and "Usage: " in ended.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "click" in loaded and not loaded & HEAVY


def test_every_package_has_a_command():
    assert set(COMMANDS) >= {"idc-run", "idc-caption", "idc-data", "idc-models", "idc-eval"}


def test_pip_and_uv_install_the_same_versions():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    assert listed == (ROOT / "constraints.txt").read_text().splitlines()
