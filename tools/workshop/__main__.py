"""Write the kit into a folder: ``python -m workshop OUT``."""

import sys
from pathlib import Path

from workshop.kit import write_kit

if len(sys.argv) != 2:
    sys.exit("usage: python -m workshop OUT")
write_kit(Path(sys.argv[1]))
