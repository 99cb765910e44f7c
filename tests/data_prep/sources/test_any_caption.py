"""Any caption through every writer and reader: it comes back, or one sentence or row says why not.

What comes back is the caption as one line (`one_line`): that is the form of captions everywhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources.folder import read_metadata
from data_prep.sources.listing import LISTING, listing_rows, write_listing
from data_prep.tables import read_rows
from evaluation.generate import _metadata
from evaluation.plan import Sample
from evaluation.sets import read_folder
from evaluation.sets.folder import read_captions
from lightning_artv.data.captions import caption_of
from lightning_artv.data.tar import ShardWriter, read_shard
from lightning_artv.errors import UserError
from lightning_artv.files import has_surrogates, one_line

ANY = st.text(
    st.one_of(
        st.sampled_from(list("a1é二🎬,;\t\"'\\\n\r\0# \ufeff\u2028\x85\x1c\ud800\udce9")),
        st.characters(),
    ),
    max_size=30,
)
COMMON = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    "max_examples": 60,
    "deadline": None,
}


def as_csv(texts: list[str]) -> bytes:
    file = io.StringIO(newline="")
    rows = [(f"{n}.mp4", text) for n, text in enumerate(texts)]
    csv.writer(file).writerows([("file_name", "text"), *rows])
    return file.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(texts: list[str]) -> bytes:
    rows = [json.dumps({"file_name": f"{n}.mp4", "text": text}) for n, text in enumerate(texts)]
    return "\n".join(rows).encode()


def as_parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    names = [f"{n}.mp4" for n in range(len(texts))]
    text = pa.array(data, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"file_name": pa.array(names, pa.string()), "text": text}), file)
    return file.getvalue()


LISTS: dict[str, Callable[[list[str]], bytes]] = {
    "metadata.csv": as_csv,
    "metadata.jsonl": as_jsonl,
    "metadata.parquet": as_parquet,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that lists name."""
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("name", LISTS)
@settings(**COMMON)
@given(texts=st.lists(ANY, min_size=1, max_size=3))
def test_lists_through_folder_sources_and_evaluation(
    folder: Path, name: str, texts: list[str]
) -> None:
    (folder / name).write_bytes(LISTS[name](texts))
    broken = any(map(has_surrogates, texts))
    wanted = [one_line(text) for text in texts]
    for strict in (_folder, _evaluation):
        try:
            assert strict(folder) == wanted
        except UserError as error:
            assert broken and "\n" not in str(error)
        else:
            assert not broken
    rows = list(listing_rows("folder", folder, None))
    assert len(rows) == len(texts)  # each is a row of the table, usable or not
    for row, text in zip(rows, texts, strict=True):
        if row["status"] == "ok":
            assert row["caption"] == one_line(text)
        else:
            assert row["error_kind"] == ("not_utf8" if has_surrogates(text) else "empty_caption")
    write_listing("folder", folder, None, folder / "list.parquet")
    stored = read_rows(folder / "list.parquet", [field.name for field in LISTING])
    assert [row["caption"] for row in stored] == [row.get("caption") for row in rows]


def _folder(folder: Path) -> list[str]:
    return [entry.text for entry in read_metadata(folder, allow_empty_captions=True)]


def _evaluation(folder: Path) -> list[str]:
    videos = read_folder(folder, lambda sentence: None)
    return [one_line(video.captions[0]) if video.captions else "" for video in videos][
        : len(_folder(folder))
    ]


@settings(**COMMON)
@given(texts=st.lists(ANY.filter(lambda text: not has_surrogates(text)), min_size=1, max_size=3))
def test_shards_with_the_caption_in_txt_or_json(tmp_path: Path, texts: list[str]) -> None:
    with ShardWriter(tmp_path / "shards") as writer:
        for number, text in enumerate(texts):
            writer.write(f"{number}", b"video", one_line(text), {"source": text})
            writer.write(f"{number}j", b"video", "", {"caption": text})
    found = [caption_of(raw.files).text for raw in read_shard(tmp_path / "shards" / "00000.tar")]
    assert found == [one_line(text) for text in texts for _ in range(2)]


@settings(**COMMON)
@given(texts=st.lists(ANY.filter(lambda text: not has_surrogates(text)), min_size=1, max_size=3))
def test_the_table_of_generated_videos(folder: Path, texts: list[str]) -> None:
    real = read_folder(folder, lambda sentence: None)[0]
    samples = [Sample(n, f"{n:05d}-video", text, real) for n, text in enumerate(texts)]
    (folder / "made.csv").write_bytes(_metadata(samples))
    assert list(read_captions(folder / "made.csv").values()) == [
        (one_line(text),) for text in texts
    ]


@settings(deadline=None)
@given(ANY)
def test_one_line_is_a_fixed_point_that_a_byte_order_mark_cannot_change(text: str) -> None:
    line = one_line(text)
    assert one_line(line) == line
    if not has_surrogates(line):
        assert line.encode().decode("utf-8-sig") == line
