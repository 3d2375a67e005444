"""Peak memory of `lstmfast predict` on a small table and on a large one: rows stream through it.

    python -m benchmarks.table_memory --megabytes 100

For each layout and file format it prints the size of the table and the largest resident set of the process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lstmfast.tables.reading import open_table
from lstmfast.tables.writing import write_table

N_STEPS, N_FEATURES = 30, 4


def main():
    """Write tables of 1 MB and of the size asked for; train on the small ones, predict both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=100, help="size of the large tables (default: 100)")
    arguments = parser.parse_args()
    print("| table | size, MB | peak, MB | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for layout, write in (("wide", write_wide), ("long", write_long)):
            model = Path(folder, layout)
            for megabytes in (1, arguments.megabytes):
                data = Path(folder, f"{layout}.csv")
                write(data, megabytes)
                if not model.exists():
                    options = ["--id", "id"] if layout == "long" else []
                    run("train", data, "--target", "y", *options, "--epochs", "1", "--hidden", "16", "--out", model)
                for table in (data, as_parquet(data)):
                    out = table.with_stem("out")
                    peak, seconds = run("predict", model, table, "--n-jobs", "1", "--out", out)
                    size = table.stat().st_size / 1e6
                    print(
                        f"| {layout} {table.suffix[1:]} | {size:.0f} | {peak / 1e6:.0f} | {seconds:.1f} |", flush=True
                    )


def write_wide(path, megabytes):
    """A row of N_STEPS numbers a sequence."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        print(*[f"x{i}" for i in range(N_STEPS)], "y", sep=",", file=file)
        while file.tell() < 1e6 * megabytes:
            for row in rng.normal(size=(1000, N_STEPS)):
                print(*[f"{x:.4f}" for x in row], "up" if row.sum() > 0 else "down", sep=",", file=file)


def write_long(path, megabytes):
    """N_STEPS rows of N_FEATURES numbers a sequence."""
    rng, number = np.random.default_rng(0), 0
    with open(path, "w") as file:
        print("id", *[f"x{i}" for i in range(N_FEATURES)], "y", sep=",", file=file)
        while file.tell() < 1e6 * megabytes:
            number += 1
            steps = rng.normal(size=(N_STEPS, N_FEATURES))
            label = "up" if steps.sum() > 0 else "down"
            file.writelines(f"s{number},{','.join(f'{x:.4f}' for x in step)},{label}\n" for step in steps)


def as_parquet(path):
    """The same table beside it."""
    parquet = path.with_suffix(".parquet")
    with open_table(path) as table:
        chunks = (
            {name: column.numbers() if name[0] == "x" else column.keys() for name, column in chunk.items()}
            for chunk in table.chunks(table.names)
        )
        write_table(chunks, parquet)
    return parquet


def run(*arguments):
    """(peak resident set in bytes, seconds) of a command, from what the system says of the process."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lstmfast", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"lstmfast {arguments[0]} ended with {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - started


if __name__ == "__main__":
    main()
