"""Print the ```bash and ```python blocks of a Markdown file as one shell script."""

from __future__ import annotations

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
if not blocks:
    sys.exit(f"{sys.argv[1]} shows no commands")
# -P: the clone has the package's sources, but the installed package has the extension.
for language, code in blocks:
    print(code if language == "bash" else f"python -P - <<'PYTHON'\n{code}PYTHON\n")
