"""A hook of mkdocs: the site has the files of the repository at their own paths, so that links are the same in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_TAKEN = (
    "README.md",
    "LICENSE",
    "docs/**/*",
    "mlruns/README.md",
    "benchmarks/*.md",
    "experiments/**/*.yaml",
    "examples/**/*",
    "packages/*/README.md",
    "packages/*/src/*/*.py",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of `docs/` by those of the repository that pages are made of or link to."""
    kept = [file for file in files if file.generated_by or Path(file.src_dir or "") != ROOT / "docs"]
    found = {
        path for pattern in _TAKEN for path in ROOT.glob(pattern) if path.is_file() and "__pycache__" not in path.parts
    }
    made = [
        File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls)
        for path in sorted(found)
    ]
    return Files([*kept, *made])
