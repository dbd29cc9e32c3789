"""Continuous batching: samples of many prompts decoded together; a row that ends makes room for the next.

Each prompt is computed once, whatever the number of its samples, and its keys and values are copied to the
rows of the samples. Row r of the cache has its token of position p in column p, so that no row is padded, and
rows that are at different positions share a step. Rows are kept together at the front: a step costs what
the running rows cost. The forward pass is the model's own (transformers); only the cache is ours, because
those of transformers give all rows one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, get_layer_types_and_kwargs

from trainer.policies import logit_transform
from trainer.rollouts.token_draw import draw_tokens

FREE_SHARE = 8  # slots are filled again once one in this many is free: a prefill costs a forward pass
PREFILL_TOKENS = 16384  # padded tokens of a prefill
BLOCK = 128  # columns by which the cache grows
FULL, SLIDING = "full_attention", "sliding_attention"
CHECK_TOLERANCE_NATS = {torch.float32: 1e-3, torch.float64: 1e-3}
ROUGH_CHECK_TOLERANCE_NATS = 0.3  # dtypes of 16 bits
_CHECKED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@dataclass
class Row:
    """A completion that is being decoded: the number of its request, its tokens, and the log-probability of
    each in nats.
    """

    number: int
    token_ids: list[int]
    logprobs: list[float]


@dataclass
class Columns:
    """Where the rows of a step write and how far they read. Shapes: rows and position [R]."""

    rows: Int[Tensor, " R"]
    position: Int[Tensor, " R"]
    width: int


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer for all slots: [slots, heads, columns, head size]."""

    is_compileable = False
    is_sliding = False  # the mask has the window
    keys: Tensor  # type: ignore[assignment]
    values: Tensor  # type: ignore[assignment]

    def __init__(self, columns: Columns, slots: int):
        super().__init__()
        self.columns, self.slots = columns, slots

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Zeros, for a masked NaN would still be one after it is multiplied by 0."""
        self.keys, self.values = (
            states.new_zeros(self.slots, states.shape[1], BLOCK, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def reserve(self, columns: int) -> None:
        """Make room for this number of columns."""
        if columns <= self.keys.shape[2]:
            return
        size = -(-columns // BLOCK) * BLOCK
        grown = []
        for states in (self.keys, self.values):
            larger = states.new_zeros(*states.shape[:2], size, states.shape[3])
            larger[:, :, : states.shape[2]] = states
            grown.append(larger)
        self.keys, self.values = grown

    def insert(self, slots: Int[Tensor, " S"], key_states: Tensor, value_states: Tensor) -> None:
        """Copy the keys and values of a prompt, [1, heads, tokens, head size], to some slots."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = key_states.shape[2]
        self.reserve(length)
        self.keys[slots, :, :length] = key_states
        self.values[slots, :, :length] = value_states

    def move(self, sources: Int[Tensor, " M"], targets: Int[Tensor, " M"], width: int) -> None:
        for states in (self.keys, self.values):
            states[targets, :, :width] = states[sources, :, :width]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, and give what the rows read."""
        at = self.columns
        self.reserve(at.width)
        self.keys[at.rows, :, at.position] = key_states[:, :, 0]
        self.values[at.rows, :, at.position] = value_states[:, :, 0]
        count = len(at.rows)
        return self.keys[:count, :, : at.width], self.values[:count, :, : at.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.columns.width, 0

    def get_seq_length(self) -> int:
        return self.columns.width - 1

    def get_max_length(self) -> int:
        return -1


class ContinuousBatch:
    """Rows of one model that are decoded together, in at most `slots` slots."""

    def __init__(self, model: Any, slots: int):
        self.model = model
        device = model.device
        nothing = torch.zeros(0, dtype=torch.long, device=device)
        self.columns = Columns(nothing, nothing, 0)
        types, settings = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
        self._windows = dict(
            (kind, values.get("sliding_window")) for kind, values in zip(types, settings, strict=True)
        )
        self._layers = [SlotLayer(self.columns, slots) for _ in types]
        self._cache = Cache(layers=list(self._layers))
        self._prompts = dict[tuple[int, ...], tuple[DynamicCache, int, Tensor]]()
        self.rows: list[Row] = []

    def prefill(self, prompts: Sequence[Sequence[int]]) -> None:
        """Compute prompts that are not known yet; others than these are forgotten."""
        asked = list(dict.fromkeys(map(tuple, prompts)))
        self._prompts = {prompt: self._prompts[prompt] for prompt in asked if prompt in self._prompts}
        new = sorted((prompt for prompt in asked if prompt not in self._prompts), key=len)
        while new:
            count = max(1, PREFILL_TOKENS // max(len(new[-1]), 1))
            part, new = new[:count], new[count:]
            self._compute(part)

    def _compute(self, prompts: list[tuple[int, ...]]) -> None:
        """Padded on the right, which a causal model never reads."""
        width = max(map(len, prompts))
        device = self.model.device
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)
        cache = DynamicCache()  # without the configuration: layers with a window keep all columns
        states = self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        logits = self._logits(states[torch.arange(len(prompts), device=device), last])
        for index, prompt in enumerate(prompts):
            self._prompts[prompt] = (cache, index, logits[index])

    def add(self, requests: Sequence[tuple[int, Sequence[int]]]) -> Float[Tensor, "S V"]:
        """Place requests (number, prompt), whose prompts were computed, behind the running rows; returns the
        logits of their first token.
        """
        first = len(self.rows)
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for offset, (number, prompt) in enumerate(requests):
            by_prompt.setdefault(tuple(prompt), []).append(first + offset)
            self.rows.append(Row(number, [], []))
        device = self.model.device
        for prompt, slots in by_prompt.items():
            computed, index, _ = self._prompts[prompt]
            target = torch.tensor(slots, device=device)
            for layer, own in zip(self._layers, _states(computed), strict=True):
                keys, values = (part[index : index + 1, :, : len(prompt)] for part in own)
                layer.insert(target, keys, values)
        # The next token of a row is at the position after its prompt.
        positions = torch.tensor([len(prompt) - 1 for _, prompt in requests], device=device)
        self._set_rows(torch.cat([self.columns.position, positions]))
        return torch.stack([self._prompts[tuple(prompt)][2] for _, prompt in requests])

    def drop(self, ended: Sequence[int]) -> Int[Tensor, " R"]:
        """Take rows out by index. The last rows move to the free slots; returns the old index of each row
        that stays.
        """
        gone, count = set(ended), len(self.rows) - len(ended)
        holes = [index for index in ended if index < count]
        movers = [index for index in range(count, len(self.rows)) if index not in gone]
        order = list(range(count))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        self.rows = [self.rows[index] for index in order]
        device = self.model.device
        if movers:
            sources, targets = torch.tensor(movers, device=device), torch.tensor(holes, device=device)
            for layer in self._layers:
                layer.move(sources, targets, self.columns.width)
        stays = torch.tensor(order, dtype=torch.long, device=device)
        self._set_rows(self.columns.position[stays])
        return stays

    def advance(self, token: Int[Tensor, " R"]) -> Float[Tensor, "R V"]:
        """Feed one token per row; returns the logits of the next."""
        self._set_rows(self.columns.position + 1)
        at = self.columns
        states = self.model.base_model(
            input_ids=token[:, None],
            attention_mask=self._masks(),
            position_ids=at.position[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return self._logits(states[:, -1])

    def _set_rows(self, position: Int[Tensor, " R"]) -> None:
        at = self.columns
        at.position = position
        if len(at.rows) != len(position):
            at.rows = torch.arange(len(position), device=position.device)
        at.width = int(position.max()) + 1 if len(position) else 0

    def _masks(self) -> Tensor | dict[str, Tensor]:
        """What is added to the attention scores, [R, 1, 1, columns]; one per kind of layer if there are
        several.
        """
        at = self.columns
        column = torch.arange(at.width, device=at.position.device)
        behind = at.position[:, None] - column
        masks = {}
        for kind, window in self._windows.items():
            outside = behind < 0 if window is None else (behind < 0) | (behind >= window)
            added = torch.zeros(outside.shape, dtype=self.model.dtype, device=outside.device)
            masks[kind] = added.masked_fill_(outside, torch.finfo(added.dtype).min)[:, None, None]
        return next(iter(masks.values())) if len(masks) == 1 else masks

    def _logits(self, states: Float[Tensor, "R width"]) -> Float[Tensor, "R V"]:
        return logit_transform(self.model)(self.model.get_output_embeddings()(states))


def _states(cache: DynamicCache) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, [prompts, heads, columns, head size]."""
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        yield layer.keys, layer.values


def decode(
    model: Any,
    requests: Sequence[Sequence[int]],
    *,
    stop_ids: frozenset[int],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    generator: torch.Generator,
    slots: int,
) -> Iterator[Row]:
    """A completion for each request (the tokens of a prompt), in the order in which they end. Requests of one
    prompt are best next to each other.
    """
    batch = ContinuousBatch(model, min(slots, len(requests)))
    slots = min(slots, len(requests))
    logits: Tensor | None = None
    started = 0
    while batch.rows or started < len(requests):
        free = min(slots - len(batch.rows), len(requests) - started)
        if free and (not batch.rows or free >= slots // FREE_SHARE or started + free == len(requests)):
            new = list(enumerate(requests[started : started + free], start=started))
            started += free
            batch.prefill([prompt for _, prompt in new])
            first = batch.add(new)
            logits = first if logits is None else torch.cat([logits, first])
        assert logits is not None
        token, logprob = draw_tokens(logits, temperature, top_p, generator)
        ended = _append(batch.rows, token.tolist(), logprob.tolist(), stop_ids, max_new_tokens)
        if ended:
            yield from (batch.rows[index] for index in ended)
            token = token[batch.drop(ended)]
        logits = batch.advance(token) if batch.rows else None


def _append(
    rows: list[Row], tokens: list[int], logprobs: list[float], stop_ids: frozenset[int], max_new_tokens: int
) -> list[int]:
    """Give each row its token; returns the indices of rows that have ended."""
    ended = []
    for index, (row, token, logprob) in enumerate(zip(rows, tokens, logprobs, strict=True)):
        row.token_ids.append(token)
        row.logprobs.append(logprob)
        if token in stop_ids or len(row.token_ids) == max_new_tokens:
            ended.append(index)
    return ended


def can_decode(model: Any) -> bool:
    """Whether the rows of a batch have the log-probabilities of the model's own forward pass. Models with
    a recurrent state, or whose positions come from a mask of padding, do not. Tried once for each model.
    """
    if model not in _CHECKED:
        kinds, _ = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
        _CHECKED[model] = set(kinds) <= {FULL, SLIDING} and _gap(model) <= CHECK_TOLERANCE_NATS.get(
            model.dtype, ROUGH_CHECK_TOLERANCE_NATS
        )
    return _CHECKED[model]


@torch.inference_mode()
def _gap(model: Any) -> float:
    """Largest difference of log-probabilities at the last of three sequences, in nats; infinite where the
    model cannot be called like this.
    """
    size = model.get_input_embeddings().num_embeddings
    ids = [[(1 + i * 7919) % size for i in range(first, first + length)] for first, length in LENGTHS]
    batch, fed = ContinuousBatch(model, len(ids)), 3
    try:
        prompts = [row[:-fed] for row in ids]
        batch.prefill(prompts)
        batch.add(list(enumerate(prompts)))
        for back in range(fed, 0, -1):
            logits = batch.advance(torch.tensor([row[-back] for row in ids], device=model.device))
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError, NotImplementedError):
        return float("inf")
    gap = 0.0
    for index, row in enumerate(ids):
        own = model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0, -1]
        gap = max(gap, float((own.float().log_softmax(0) - logits[index].float().log_softmax(0)).abs().max()))
    return gap


LENGTHS = ((1, 9), (40, 5), (80, 24))  # first number, and tokens, of the sequences that are tried
