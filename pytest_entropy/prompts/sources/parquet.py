"""Prompts from parquet files, read through pyarrow batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources.base import Columns, PromptSource, from_rows, regular_file

_ROWS_AT_ONCE = 1024
# A small compressed file may unpack to any size; more bytes of prompts do not fit into memory as Python objects.
_LARGEST = 8 * 2**30


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """("row N", row) of every row, counted from 1.

    Raises:
        UsageError: pyarrow is missing, or the file is not parquet, is damaged, or has more than 8 GiB uncompressed.
    """
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError as error:
        raise UsageError(f"reading {path} needs pyarrow: pip install 'pytest-entropy[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
            size = sum(group.total_byte_size for group in groups)
            if size > _LARGEST:
                raise UsageError(f"prompts file {path} is {size / 2**30:.0f} GiB uncompressed, more than 8 GiB")
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except UsageError:
        raise
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"prompts file {path} is not a readable parquet file: {reason}") from None


def open_source(source: str, columns: Columns) -> PromptSet:
    """Open the prompts of a parquet file.

    Raises:
        UsageError: the file cannot be read, or a row is invalid.
    """
    path = regular_file(source)
    return from_rows(read_parquet(path), f"prompts file {path}", columns, from_table=True)


SOURCE = PromptSource(".parquet", lambda source: Path(source).suffix in (".parquet",), open_source)
