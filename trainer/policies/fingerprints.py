"""Hashes of what a log-probability depends on: weights, tokenizer and texts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tokenizer_text(tokenizer: Any) -> str:
    """What decides how text becomes tokens; the padding and truncation that a call may have set do not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    state = json.loads(backend.to_str())
    return json.dumps(
        {name: value for name, value in state.items() if name not in ("padding", "truncation")},
        sort_keys=True,
    )


def weights_hash(model: Any) -> str:
    digest, seen = hashlib.sha256(), set()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.data_ptr() in seen:  # tied weights count once, whatever name they are saved under
            continue
        seen.add(tensor.data_ptr())
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
