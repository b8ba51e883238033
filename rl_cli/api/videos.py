"""Videos as objects that a notebook shows."""

from __future__ import annotations

import base64
import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Video:
    """An mp4 file. A notebook shows it as a player, with the file inside the page.

    Args:
        path: of the file.
        width: of the player, in pixels.

    """

    path: str | os.PathLike[str]
    width: int = 480

    def _repr_html_(self) -> str:
        data = base64.b64encode(Path(self.path).read_bytes()).decode()
        source = f"data:video/mp4;base64,{data}"
        return f'<video controls loop autoplay muted width="{self.width}" src="{source}"></video>'
