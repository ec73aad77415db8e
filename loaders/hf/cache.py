"""Keys and values of several replies in one buffer per layer, so that one call of the model serves them all.

All lines end in the same column: a new token of each goes into the next column, and what stands before a line's
first token is masked. Nothing is copied for a token, unlike in the library's DynamicCache, which joins two tensors
per layer each time. A line that is alone has no padding and needs no mask.

Layers with a sliding window are kept whole here; the model's own mask limits what they see. That costs memory and
allows a line to be cut back to any length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

STEP = 256
"""Columns by which a buffer grows at least."""


@dataclass(slots=True)
class Span:
    """The columns in use, the same in all layers: `begin` up to but not including `end`, of `lines` lines."""

    begin: int = 0
    end: int = 0
    lines: int = 1


class SharedLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer: [lines, heads, columns, width], larger than what is in use."""

    is_sliding = False
    is_croppable = True

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The buffers, in the type, the width and on the device of what the layer computes."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = self._buffer(key_states, STEP)
        self.values = self._buffer(value_states, STEP)
        self.is_initialized = True

    def _buffer(self, like: Tensor, columns: int) -> Tensor:
        return like.new_zeros((self.span.lines, like.shape[1], columns, like.shape[3]))

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **more: object) -> tuple[Tensor, Tensor]:
        """Put the new columns behind the others; gives all in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        span = self.span
        end = span.end + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.resize(span.lines, max(end, min(span.end + span.end // 4, span.end + 4 * STEP)))
        self.keys[: span.lines, :, span.end : end] = key_states
        self.values[: span.lines, :, span.end : end] = value_states
        return self.keys[: span.lines, :, span.begin : end], self.values[: span.lines, :, span.begin : end]

    def resize(self, lines: int, columns: int, shift: int = 0) -> None:
        """New buffers of at least that size; what is in use moves `shift` columns to the right."""
        span = self.span
        columns = -(-columns // STEP) * STEP
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros((max(lines, span.lines), old.shape[1], columns, old.shape[3]))
            begin, end = span.begin + shift, span.end + shift
            new[: span.lines, :, begin:end] = old[: span.lines, :, span.begin : span.end]
            setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns in use with the new ones; no offset."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.span.end - self.span.begin

    def get_max_length(self) -> int:
        """It grows."""
        return -1


@dataclass(slots=True, eq=False)
class Line:
    """One sequence of tokens whose keys and values are computed."""

    tokens: list[int] = field(default_factory=list)
    images: str = ""


class SharedCache(Cache):  # type: ignore[misc]
    """The cache of `lines`, in the order of the buffers' rows. A new one holds one empty line."""

    def __init__(self, layers: int) -> None:
        self.span = Span()
        self.layers: list[SharedLayer]
        super().__init__(layers=[SharedLayer(self.span) for _ in range(layers)])
        self.lines: list[Line] = [Line()]

    @property
    def padded(self) -> bool:
        """Whether a line is shorter than another."""
        columns = self.span.end - self.span.begin
        return any(len(line.tokens) != columns for line in self.lines)

    def mask(self, more: int) -> Tensor:
        """1 where a line has a token, for the columns in use and `more` new ones: [lines, columns]."""
        columns = self.span.end - self.span.begin + more
        starts = torch.tensor([[columns - more - len(line.tokens)] for line in self.lines])
        return (torch.arange(columns)[None, :] >= starts).long()

    def grown(self, tokens: list[list[int]]) -> None:
        """What was computed is part of the lines from now on."""
        for line, new in zip(self.lines, tokens, strict=True):
            line.tokens.extend(new)
        self.span.end += len(tokens[0])

    def cut(self, length: int) -> None:
        """Shorten the only line to its first `length` tokens."""
        [line] = self.lines
        self.span.end -= len(line.tokens) - length
        del line.tokens[length:]

    def join(self, other: SharedCache) -> SharedCache:
        """Take the only line of `other` in; gives the cache that holds all lines then. `other` is used up."""
        if not self.lines:
            return other
        [line] = other.lines
        self._trim()
        width = self.span.end - self.span.begin
        end = max(width, len(line.tokens))
        row, shift = len(self.lines), end - self.span.end
        for mine, new in zip(self._filled(), other._filled(), strict=True):
            if row >= mine.keys.shape[0] or end + STEP // 2 > mine.keys.shape[2] or shift:
                rows = mine.keys.shape[0]
                mine.resize(rows if row < rows else 2 * rows, end + STEP, shift)
            for name in ("keys", "values"):
                target, source = getattr(mine, name)[row], getattr(new, name)[0, :, other.span.begin : other.span.end]
                target[:, : end - len(line.tokens)] = 0
                target[:, end - len(line.tokens) : end] = source
        self.lines.append(line)
        self.span.begin, self.span.end, self.span.lines = end - max(width, len(line.tokens)), end, len(self.lines)
        return self

    def leave(self, line: Line) -> SharedCache:
        """Take a line out, with what was computed for it; the last one takes the buffers along."""
        if len(self.lines) == 1:
            alone = SharedCache(len(self.layers))
            alone.span = Span(self.span.begin, self.span.end, 1)
            alone.layers, alone.lines = self.layers, [line]
            for layer in alone._filled():
                layer.span = alone.span
            self.layers = [SharedLayer(self.span) for _ in alone.layers]
            self.lines, self.span.begin, self.span.end = [], 0, 0
            return alone
        alone = self.copy(line, len(line.tokens))
        self.drop(line)
        return alone

    def drop(self, line: Line) -> None:
        """Forget a line; the last of the buffers' rows takes its place."""
        row, last = self.lines.index(line), len(self.lines) - 1
        if row != last:
            for layer in self._filled():
                layer.keys[row] = layer.keys[last]
                layer.values[row] = layer.values[last]
            self.lines[row] = self.lines[last]
        self.lines.pop()
        self.span.lines = max(1, len(self.lines))
        if not self.lines:
            self.layers = [SharedLayer(self.span) for _ in self.layers]
            self.span.begin = self.span.end = 0
        else:
            self._trim()

    def copy(self, line: Line, length: int) -> SharedCache:
        """A cache of its own with the first `length` tokens of a line."""
        row, begin = self.lines.index(line), self.span.end - len(line.tokens)
        alone = SharedCache(len(self.layers))
        for mine, new in zip(self.layers, alone.layers, strict=True):
            if not mine.is_initialized:
                continue
            new.lazy_initialization(mine.keys[:1], mine.values[:1])
            new.resize(1, length + STEP // 2)
            new.keys[0, :, :length] = mine.keys[row, :, begin : begin + length]
            new.values[0, :, :length] = mine.values[row, :, begin : begin + length]
        alone.span.end = length
        alone.lines = [Line(line.tokens[:length], line.images)]
        return alone

    def size(self) -> int:
        """Bytes its buffers take."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._filled())

    def _trim(self) -> None:
        """Columns no line uses any more are not looked at."""
        self.span.begin = self.span.end - max((len(line.tokens) for line in self.lines), default=0)

    def _filled(self) -> list[SharedLayer]:
        return [layer for layer in self.layers if layer.is_initialized]
