"""`python -m nemo_fast` is the command `nemo-fast`."""

from __future__ import annotations

from nemo_fast.cli import main

if __name__ == "__main__":
    main(prog_name="nemo-fast")
