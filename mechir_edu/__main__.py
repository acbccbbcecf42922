"""``python -m mechir_edu`` is ``mechir-edu``."""

import sys

from mechir_edu.cli.main import main

sys.exit(main())
