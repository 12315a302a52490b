"""`python -m vision_transformers`: the command `vit`, with this Python."""

import sys

from vision_transformers.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
