"""The policy: a causal language model, its tokenizer, and the one format in which it reads problems and
writes programs.

Every other part of the trainer speaks token ids through `prompt_ids` and `completion_ids`, so that stored
text from anywhere ends up in the policy's own format, end token included.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from sandbox.languages import find_language

transformers_logging.disable_progress_bar()  # a bar a load would tear the progress of the flows

PROBLEM, PROGRAM, END, PAD = "<|problem|>", "<|program|>", "<|end|>", "<|pad|>"
INSTRUCTION = "Answer with one complete Python program that reads stdin and prints the answer to stdout, in a single fenced code block."
FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
# Tokens never cross these pieces: a line break with its indentation, a word, a digit, a run of other signs,
# spaces.
CLAUSE = re.compile(r"[^,.]+[,.]?")
PIECES = r"\n *| ?[A-Za-z_]+| ?[0-9]| ?[^\sA-Za-z_0-9]+|\s+"
SHORTEST_IDIOM = 5  # characters
_ENCODING = (
    Lock()
)  # whether special tokens are text is a state of the tokenizer, which transformers sets before each call


@dataclass
class Policy:
    """A model with its tokenizer. `template` is `chat` (the tokenizer's chat template) or `plain` (our own
    markers).
    """

    model: Any
    tokenizer: Any
    template: str

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def pad_id(self) -> int:
        return self.end_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    @cached_property
    def end_id(self) -> int:
        """The token that ends a completion: what the chat template puts after an answer, else the
        end-of-text token.
        """
        if self.template == "chat":
            asked = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "ANSWER"}]
            after = self.tokenizer.apply_chat_template(asked, tokenize=False).rsplit("ANSWER", 1)[1]
            ids = self._marker(after)
            if ids and ids[0] in self.tokenizer.all_special_ids:
                return ids[0]
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json"
            )
        return self.tokenizer.eos_token_id

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """All tokens at which sampling stops: the end token and those of the model's generation settings."""
        configured = self.model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        return frozenset([self.end_id, *(token for token in listed if token is not None)])

    def prompt_ids(self, statement: str) -> list[int]:
        """The tokens before a completion."""
        if self.template == "chat":
            message = [{"role": "user", "content": f"{statement}\n\n{INSTRUCTION}"}]
            with _ENCODING:
                return self.tokenizer.apply_chat_template(
                    message, add_generation_prompt=True, tokenize=True, return_dict=False
                )
        return [*self._marker(PROBLEM), *self._text_ids(statement), *self._marker(PROGRAM)]

    def completion_ids(self, completion_text: str) -> list[int]:
        """The tokens of a completion, the end token last."""
        return [*self._text_ids(completion_text), self.end_id]

    def completion_text(self, ids: list[int]) -> str:
        """The text up to the first stop token. Other special tokens stay visible, so that a broken sample
        stays broken.
        """
        length = next((place for place, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self.tokenizer.decode(
            ids[:length], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def completion_of_program(self, program: str, language: str = "python3") -> str:
        """How the policy would have written a program that comes from elsewhere."""
        if self.template == "plain":
            return program
        row = find_language(language)
        return f"```{row.fence if row else language}\n{program.rstrip()}\n```"

    def program_of_completion(self, completion_text: str) -> str:
        """The program in a completion: all of it, or for chat models the first fenced block (all of it if
        there is none).
        """
        fenced = FENCE.search(completion_text) if self.template == "chat" else None
        return fenced.group(1) if fenced else completion_text

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 (16 hex digits) of weights, tokenizer and template, and the dtype: what a
        log-probability depends on.
        """
        template = (
            self.tokenizer.chat_template + INSTRUCTION if self.template == "chat" else PROBLEM + PROGRAM
        )
        return {
            "weights": _weights_hash(self.model),
            "tokenizer": _text_hash(_tokenizer_text(self.tokenizer)),
            "template": _text_hash(f"{self.template} {template} {self.end_id}"),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def save(self, folder: str | Path) -> None:
        """Writes weights (safetensors), tokenizer and template to `folder`; `load_policy` and any Hub tool
        read it back.
        """
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _text_ids(self, text: str) -> list[int]:
        # Untrusted text: a marker spelt out in a statement or program is text, not the marker.
        with _ENCODING:
            return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _marker(self, marker: str) -> list[int]:
        with _ENCODING:
            return self.tokenizer.encode(marker, add_special_tokens=False)


def load_policy(path_or_name: str | Path, dtype: torch.dtype = torch.float32) -> Policy:
    """Any causal model: a folder, a Hub name or a `.gguf` file (its weights are unpacked, so that they can be
    trained).

    Raises OSError where there is no such folder or Hub name, ImportError for a GGUF file without the `gguf`
    extra.
    """
    source, options = str(path_or_name), dict[str, Any]()
    model_options: dict[str, Any] = {"dtype": dtype}
    if source.endswith(".gguf"):
        source, options = _gguf_source(Path(source))
        model_options["quantization_config"] = _dequantised()
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    model = AutoModelForCausalLM.from_pretrained(source, **options, **model_options)
    return Policy(model.eval(), tokenizer, "chat" if tokenizer.chat_template else "plain")


def new_policy(
    texts: Iterable[str],
    *,
    vocab_size: int = 704,
    idiom_share: float = 0.02,
    layers: int = 3,
    width: int = 128,
    heads: int = 4,
    max_positions: int = 1024,
    seed: int = 0,
) -> Policy:
    """A small untrained Llama with a byte-level BPE tokenizer trained from `texts` (statements and programs).

    Lines and clauses that occur in at least `idiom_share` of the texts become tokens of their own beside the
    `vocab_size` of the BPE: `a = list(map(int, input().split()))` costs a small model one decision, not
    sixteen. The weights follow from `seed` alone and the caller's random state is left as it was.
    """
    tokenizer = _train_tokenizer(list(texts), vocab_size, idiom_share)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return Policy(model.eval(), tokenizer, "plain")


def _train_tokenizer(texts: list[str], vocab_size: int, idiom_share: float) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pieces, bytes_only])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, PROBLEM, PROGRAM, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(idiom, normalized=False) for idiom in idioms_of(texts, idiom_share)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[PROBLEM, PROGRAM],
        clean_up_tokenization_spaces=False,
    )


def idioms_of(texts: list[str], share: float) -> list[str]:
    """Lines of programs and clauses of one-line statements that are found in at least `share` of the
    texts, sorted.
    """
    found: Counter[str] = Counter()
    for text in texts:
        found.update(
            {piece.strip() for piece in (text.split("\n") if "\n" in text else CLAUSE.findall(text))}
        )
    return sorted(
        piece
        for piece, count in found.items()
        if len(piece) >= SHORTEST_IDIOM and count >= share * len(texts)
    )


def _gguf_source(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"no GGUF file at {path}")
    return str(path.parent), {"gguf_file": path.name}


def _dequantised() -> Any:
    try:
        import accelerate  # noqa: F401  (transformers loads no GGUF file without it)
        import gguf  # noqa: F401
        from transformers import GgufConfig
    except ImportError as error:
        raise ImportError(
            f"a GGUF model needs the extra `gguf` ({error.name} is missing): pip install 'spo[gguf]'"
        ) from error
    return GgufConfig(dequantize=True)


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tokenizer_text(tokenizer: Any) -> str:
    """What decides how text becomes tokens; the padding and truncation that a call may have left behind do
    not.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    state = json.loads(backend.to_str())
    return json.dumps(
        {name: value for name, value in state.items() if name not in ("padding", "truncation")},
        sort_keys=True,
    )


def _weights_hash(model: Any) -> str:
    digest, seen = hashlib.sha256(), set()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.data_ptr() in seen:  # tied weights count once, whatever name they are saved under
            continue
        seen.add(tensor.data_ptr())
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
