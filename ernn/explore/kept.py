"""Results that are computed once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ernn.files import atomic


def kept(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read a result, or compute it and keep it."""
    if not path.is_file():
        content = compute()
        with atomic(path) as new:
            new.write_text(json.dumps(content, indent=1, default=dict) + "\n")
    result: dict[str, Any] = json.loads(path.read_text())
    return result
