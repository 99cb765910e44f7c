"""Selecting 5 M of 10.7 M synthetic videos: wall time, CPU time and peak memory.

    python benchmarks/selection.py [--rows 10700000] [--keep 5000000]

The table has the columns that the steps motion and clip write, captions of 20 to 110 characters,
and perceptual hashes of which 1 in 50 is a near copy of another.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.measure.analyse import Analysis
from data_prep.sources.listing import LISTING
from data_prep.tables import ROW_GROUP, TableWriter, columns_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_700_000)
    parser.add_argument("--keep", type=int, default=5_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder, "clip.parquet"), Path(folder, "selected.parquet")
        make_table(table, options.rows)
        size = table.stat().st_size / 1e9
        print(f"{options.rows:,} rows, {size:.2f} GB of Parquet", flush=True)
        command = [sys.executable, "-m", "data_prep", "select", str(table), str(out)]
        started = time.monotonic()
        subprocess.run([*command, "--count", str(options.keep)], check=True)
        seconds = time.monotonic() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6
        print(f"selected {options.keep:,} in {seconds:.1f} s, {cpu:.1f} s of CPU, {peak:.2f} GB")


def make_table(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    names = {field.name for field in columns_of(Analysis)}
    schema = pa.schema(
        [
            *(field for field in LISTING if field.name not in names),
            *columns_of(Analysis),
            ("clip_score", pa.float64()),
        ]
    )
    with TableWriter(path, schema, {"step": "clip"}) as writer:
        for start in range(0, rows, ROW_GROUP):
            writer.write_table(_group(rng, start, min(ROW_GROUP, rows - start), schema))


def _group(rng: np.random.Generator, start: int, count: int, schema: pa.Schema) -> pa.Table:
    number = pa.array(np.arange(start, start + count))
    key = pc.binary_join_element_wise("clip", pc.cast(number, pa.string()), "-")
    words = pa.array(
        ["a man", "two dogs", "a river", "walking", "in the rain", "slowly", "at dusk"]
    )
    parts = [
        words.take(pa.array(rng.integers(0, 7, count))) for _ in range(int(rng.integers(3, 11)))
    ]
    given = {
        "key": key,
        "path": pc.binary_join_element_wise("/data/webvid/videos/", key, ".mp4", ""),
        "caption": pc.binary_join_element_wise(*parts, " "),
        "status": pa.array(np.where(rng.random(count) < 0.01, "failed", "ok")),
        "motion": pa.array(rng.gamma(2.0, 4.0, count)),
        "clip_score": pa.array(rng.normal(0.29, 0.04, count)),
        "phash": _hashes(rng, count),
        **{
            name: pa.array(rng.random(count))
            for name in (
                "brightness",
                "sharpness",
                "black_share",
                "frozen_share",
                "watermark",
                "fps",
            )
        },
    }
    columns = [
        given.get(field.name, pa.nulls(count, field.type)).cast(field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def _hashes(rng: np.random.Generator, count: int) -> pa.Array:
    words = rng.integers(0, 2**64, (count, 3), np.uint64, endpoint=False)
    copies = np.arange(0, count - 1, 50)
    words[copies + 1] = words[copies] ^ np.array([0b101, 0, 1 << 40], np.uint64)
    text = words.byteswap().tobytes().hex()
    return pa.array([text[i * 48 : i * 48 + 48] for i in range(count)])


if __name__ == "__main__":
    main()
