"""Becomes another program, one that ends with the process that started it: `python -P tether.py PROGRAM ARGUMENTS…`.

For programs that are not ours to teach (uv). The kernel's signal at the parent's death survives exec. Called by `uv`.
"""

import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))  # `python -P` leaves it out; only `launch` is wanted from there
import launch

if __name__ == "__main__":
    launch.die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])
