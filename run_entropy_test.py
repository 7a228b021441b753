"""The old script: python run_entropy_test.py batch-scaling --checkpoint C --be-values 16,32,64 --runs 3."""

import sys

from pytest_entropy.commands.old_script import main

if __name__ == "__main__":
    sys.exit(main())
