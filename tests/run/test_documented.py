"""Every command and Python snippet of the documentation, run as it is written there.

`pytest tests/run/test_documented.py -q -s -n 0 -k list` prints what is done with each. A block is run command by
command, in a copy of the checkout with stand-ins of the names that the documentation uses (before.png, path/to/folder,
...). What TABLE does not mention is run as it is and has to succeed. What a comment in the block says to need (`# needs
the internet`, a GPU, Docker, other machines) is parsed only: its programs exist and have these options.

Here is what takes no time; tests/run/documented runs them, in two files for two processes.
"""

import re
import shlex
import subprocess
from importlib.metadata import entry_points

import click
from documented.pages import BLOCKS, OTHERS, TABLE, each, entry_of, missing, plain


def test_list_what_is_done():
    """Print it; `-s` shows it."""
    used = set()
    for block in BLOCKS:
        print(f"\n{block.page}:{block.line}")
        if block.language != "bash":
            print(f"  {'compiled' if missing(block.text) else 'run':10} {block.language}")
            continue
        for command in block.commands():
            entry = entry_of(command)
            used.add(entry)
            done = "parsed" if missing(command) else "served" if entry.serves else "run"
            short = f"   + {entry.append}" if entry.append and done != "parsed" else ""
            print(f"  {done:10} {' '.join(plain(command).split())}{short}")
    assert not set(TABLE) - used, "no page has these commands any more"


@each(BLOCKS)
def test_programs_and_options_exist(block):
    if block.language == "python":
        compile(block.text, block.page, "exec")
    if block.language != "bash":
        return
    ours = {entry.name: entry for entry in entry_points(group="console_scripts")}
    for command in block.commands():
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command
        words = shlex.split(plain(command).replace("`", " ").replace(";", " "))
        program = next((word for word in words if word.startswith("idc-")), None)
        if program is None:
            assert re.match(OTHERS, command), f"{block.page}: {command!r}: neither ours nor one that is known here"
            continue
        group, rest = ours[program].load(), words[words.index(program) + 1 :]
        while isinstance(group, click.Group):
            group, rest = group.commands[rest[0]], rest[1:]
        options = {name for option in group.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert not given - options, f"{block.page}: {command}"
