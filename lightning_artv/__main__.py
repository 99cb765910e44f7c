"""`python -m lightning_artv` is the `lightning` command."""

import sys

from lightning_artv.cli import main

sys.exit(main())
