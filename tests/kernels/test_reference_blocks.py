"""Banks are read a chunk at a time, whatever their dtype, layout and number of blocks."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.kernels.shields.reference_blocks import CPU_CHUNK_ELEMENTS, count_rows, read_chunks
from torch import Tensor


def read(references: Tensor | list[Tensor], like: Tensor, **options) -> tuple[list[int], Tensor]:
    """First rows of all chunks, and all chunks together."""
    found = [(offset, chunk.clone()) for offset, chunk in read_chunks(references, like, **options)]
    return [offset for offset, _ in found], torch.cat([like[:0], *(chunk for _, chunk in found)])


def test_rows_are_numbered_through_blocks_and_come_in_chunks() -> None:
    dimension = CPU_CHUNK_ELEMENTS // 3
    like = torch.empty(0, dimension)
    blocks = [torch.randn(count, dimension).half() for count in (4, 0, 2)]
    offsets, rows = read(blocks, like)
    assert offsets == [0, 3, 4]
    assert torch.equal(rows, torch.cat(blocks).float())
    assert count_rows(blocks) == 6
    assert count_rows(blocks[0]) == 4
    assert count_rows([]) == 0


def test_a_row_longer_than_a_chunk_is_read_whole() -> None:
    bank = torch.randn(2, CPU_CHUNK_ELEMENTS + 5)
    offsets, rows = read(bank, torch.empty(0, bank.shape[1]))
    assert offsets == [0, 1]
    assert torch.equal(rows, bank)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float32, torch.float64])
def test_dtype_of_the_estimates(dtype: torch.dtype, wanted: torch.dtype) -> None:
    bank = torch.randn(5, 2, 3, 4).to(dtype)
    _, rows = read(bank, torch.empty(0, 24, dtype=wanted))
    assert rows.dtype == wanted
    assert torch.equal(rows, bank.flatten(1).to(wanted))


def test_what_is_ready_is_not_copied() -> None:
    bank = torch.randn(5, 2, 3, 4)
    ((_, chunk),) = read_chunks(bank, torch.empty(0, 24))
    assert chunk.data_ptr() == bank.data_ptr()


def test_a_bank_of_another_memory_layout_is_never_copied_whole() -> None:
    class Watched(torch.utils._python_dispatch.TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, Tensor) and "view" not in str(func) and made._base is None:
                self.largest = max(self.largest, made.numel())
            return made

    bank = torch.zeros(64, 16, 32, 128).contiguous(memory_format=torch.channels_last)
    with Watched() as watched:
        for _ in read_chunks(bank, torch.empty(0, bank[0].numel())):
            pass
    assert 0 < watched.largest <= CPU_CHUNK_ELEMENTS < bank.numel()


def test_transform_sees_every_row_once() -> None:
    bank = torch.randn(7, 24).half()
    _, rows = read([bank[:3], bank[3:]], torch.empty(0, 24), transform=lambda chunk: 2 * chunk - 1)
    assert torch.equal(rows, 2 * bank.float() - 1)


def test_a_chunk_is_valid_until_the_next() -> None:
    bank = torch.randn(7, CPU_CHUNK_ELEMENTS // 2).half()
    for offset, chunk in read_chunks(bank, torch.empty(0, bank.shape[1])):
        assert torch.equal(chunk, bank[offset : offset + len(chunk)].float())


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="References have 24 values each and estimates 25"):
        read(torch.zeros(2, 24), torch.empty(0, 25))
    assert read(torch.zeros(0, 24), torch.empty(0, 25))[0] == []
