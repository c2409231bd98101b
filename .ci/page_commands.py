"""Print the commands of a Markdown page as one shell script.

    python .ci/page_commands.py docs/howto_e5.md [intfloat/multilingual-e5-small=FOLDER ...]

Blocks of bash run as they are, and blocks of Python by `python`. A block of YAML or JSON Lines is
written to the file that the line above it names, if that ends with "`NAME`:". Other blocks show
something and are left out. `OLD=NEW` puts another name in place of one, of a small model say, that
of a hub; one that the page does not have is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BLOCK = re.compile(
    r"(?:`(?P<file>[\w./-]+)`:\n\n?)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FILES = ("jsonl", "yaml")


def page_script(text: str, replaced: dict[str, str]) -> str:
    """Return the script of a page."""
    for old, new in replaced.items():
        if old not in text:
            sys.exit(f"the page has no {old!r} to put {new!r} in place of")
        text = text.replace(old, new)
    commands = [command for block in BLOCK.finditer(text) if (command := _command(block))]
    if not commands:
        sys.exit("the page shows no commands")
    return "\n".join(commands)


def _command(block: re.Match[str]) -> str:
    kind, code, file = block["kind"], block["code"], block["file"]
    if kind == "bash":
        return code
    if kind == "python":
        # -P: the clone has the package's sources, but the installed package has the extension.
        return f"python -P - <<'PYTHON'\n{code}PYTHON\n"
    if kind in FILES and file:
        return f"cat >{file} <<'FILE'\n{code}FILE\n"
    return ""


if __name__ == "__main__":
    page, *pairs = sys.argv[1:]
    replaced = dict(pair.split("=", 1) for pair in pairs)
    print(page_script(Path(page).read_text(encoding="utf-8"), replaced))
