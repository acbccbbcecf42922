"""What several commands' arguments share."""

import argparse
from collections.abc import Sequence
from typing import Any


class Listed(argparse.Action):
    """A list in one option or in several: ``--dataset A B`` is ``--dataset A --dataset B``.

    What is named replaces the default. argparse's own "extend" would add to it.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the values to those that were named before."""
        named = getattr(namespace, self.dest)
        before = [] if named is self.default else named
        setattr(namespace, self.dest, [*before, *values])
