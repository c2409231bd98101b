"""Print the shell commands of a Markdown file: the content of its ```bash blocks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
if not blocks:
    sys.exit(f"{sys.argv[1]} shows no commands")
print("\n".join(blocks))
