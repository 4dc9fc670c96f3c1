"""A Faust app that needs no folder of its own."""

from __future__ import annotations

import faust


class FolderlessApp(faust.App):
    """Makes no folders for tables: nothing is kept in any, and the working directory need not be ours to write to."""

    def _create_directories(self) -> None:
        pass
