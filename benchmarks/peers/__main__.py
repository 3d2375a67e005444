"""Time lstmfast and its peers side by side: `python -m benchmarks.peers training`."""

import argparse
import sys

from .command import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add_arguments(parser, quick=False)
    sys.exit(run(parser.parse_args()))
