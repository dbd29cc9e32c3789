"""The policy: a causal language model, its tokenizer, and the one format in which it reads problems and
writes programs.

Every other part of the trainer gets token ids from `prompt_ids` and `completion_ids`, so that stored
text from any source gets the policy's own format, end token included.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError
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
from trainer.policies.fingerprints import text_hash, tokenizer_text, weights_hash
from trainer.policies.gguf_files import dequantised, gguf_source
from trainer.policies.logits import logprob_fault
from trainer.policies.problems import Problem
from trainer.policies.prompts import FIXED_CLOCK, FIXED_DATE, PromptFormat, load_format

transformers_logging.disable_progress_bar()  # one bar per load would disturb the progress of the flows

THINK, END_THINK = "<think>", "</think>"
PROBLEM, PROGRAM, END, PAD = "<|problem|>", "<|program|>", "<|end|>", "<|pad|>"
# Tokens never cross these pieces: a line break with its indentation, a word, a digit, a run of other signs,
# spaces.
CLAUSE = re.compile(r"[^,.]+[,.]?")
PIECES = r"\n *| ?[A-Za-z_]+| ?[0-9]| ?[^\sA-Za-z_0-9]+|\s+"
SHORTEST_IDIOM = 5  # characters
_ENCODING = (
    Lock()
)  # whether special tokens are text is a state of the tokenizer, which transformers sets before each call


class PolicyUnreadable(ValueError):
    """A folder or model that cannot be loaded as a policy; the message says which, and why."""


@dataclass
class Policy:
    """A model with its tokenizer. `template` is `chat` (the tokenizer's chat template) or `plain` (our own
    markers).
    """

    model: Any
    tokenizer: Any
    template: str
    prompt: PromptFormat | None = None  # None: the built-in one

    @cached_property
    def format(self) -> PromptFormat:
        """The words in which the policy is asked."""
        return self.prompt or PromptFormat(kind=_format_kind(self.tokenizer))

    @cached_property
    def opens_reasoning(self) -> bool:
        """Whether a prompt ends inside the reasoning of the answer (templates that open <think>)."""
        return self.template == "chat" and (
            self._chat(self.format.messages("Q"), tokenize=False).rstrip().endswith(THINK)
        )

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

    def prompt_ids(self, asked: Problem | str) -> list[int]:
        """The tokens before a completion. A statement alone is a problem that is judged by stdin. Markers
        that are spelt out in it are text. Raises PromptError for a template that cannot be rendered.
        """
        if self.template == "chat":
            return self._chat(self.format.messages(asked), tokenize=True)
        shots = [(shot.question, shot.answer) for shot in self.format.shots]
        question = self.format.question(asked)
        if self.format.kind == "base":
            texts = [f"{solved}{answer}\n\n" for solved, answer in shots]
            with _ENCODING:
                begin = self.tokenizer.encode("")[:1]
            begin = begin if begin == [self.tokenizer.bos_token_id] else []
            return [*begin, *self._text_ids("".join(texts) + question)]
        ids: list[int] = []
        for solved, answer in shots:
            ids += [*self._marker(PROBLEM), *self._text_ids(solved), *self._marker(PROGRAM)]
            ids += [*self._text_ids(answer), self.end_id]
        return [*ids, *self._marker(PROBLEM), *self._text_ids(question), *self._marker(PROGRAM)]

    def completion_ids(self, completion_text: str) -> list[int]:
        """The tokens of a completion, the end token last."""
        return [*self._text_ids(completion_text), self.end_id]

    def completion_text(self, ids: list[int]) -> str:
        """The text up to the first stop token. Other special tokens stay in the text, so that an
        invalid sample stays invalid.
        """
        length = next((index for index, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self.tokenizer.decode(
            ids[:length], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def completion_of_program(self, program: str, language: str = "python3") -> str:
        """A program of another origin as the policy would write it."""
        if self.template == "plain":
            return program
        row = find_language(language)
        reasoned = f"\n{END_THINK}\n\n" if self.opens_reasoning else ""
        return f"{reasoned}```{row.fence if row else language}\n{program.rstrip()}\n```"

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 (16 hex digits) of weights, tokenizer and template, and the dtype: what a
        log-probability depends on.
        """
        template = self.tokenizer.chat_template if self.template == "chat" else PROBLEM + PROGRAM
        return {
            "weights": weights_hash(self.model),
            "tokenizer": text_hash(tokenizer_text(self.tokenizer)),
            "template": text_hash(f"{self.template} {template} {self.end_id} {self.format.text}"),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def save(self, folder: str | Path) -> None:
        """Writes weights (safetensors), tokenizer and template to `folder`; `load_policy` and any Hub tool
        read it back.
        """
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.format.save(Path(folder))

    def _chat(self, messages: list[dict[str, str]], *, tokenize: bool) -> Any:
        """The turns in the words of the tokenizer's chat template, at a date that stays the same. As tokens,
        control tokens that are spelt out in a turn are text.
        """
        with _ENCODING:
            return self.tokenizer.apply_chat_template(
                messages,
                chat_template=FIXED_CLOCK + self.tokenizer.get_chat_template(),
                add_generation_prompt=True,
                tokenize=tokenize,
                return_dict=False,
                sanitize_control_tokens=tokenize,
                date_string=FIXED_DATE.strftime("%d %b %Y"),
            )

    def _text_ids(self, text: str) -> list[int]:
        # Untrusted text: a marker spelt out in a statement or program is text, not the marker.
        with _ENCODING:
            return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _marker(self, marker: str) -> list[int]:
        with _ENCODING:
            return self.tokenizer.encode(marker, add_special_tokens=False)


def in_bfloat16(policy: Policy) -> Policy:
    """A copy of a policy with its weights in bfloat16."""
    return replace(policy, model=copy.deepcopy(policy.model).to(torch.bfloat16))


def load_policy(path_or_name: str | Path, dtype: torch.dtype = torch.float32) -> Policy:
    """Any causal model: a folder, a Hub name or a `.gguf` file (its weights are unpacked, so that they can be
    trained).

    No code and no pickle of the model is run. Raises PolicyUnreadable for a damaged folder, one that needs
    its own code, or a model whose log-probabilities would not be its own,
    OSError without such a folder or Hub name, ImportError for a GGUF file without the extra
    `gguf`.
    """
    source, options = str(path_or_name), dict[str, Any]()
    model_options: dict[str, Any] = {"dtype": dtype}
    if source.endswith(".gguf"):
        source, options = gguf_source(Path(source))
        model_options["quantization_config"] = dequantised()
    try:
        # Rows of a shared store name folders: what lies there is data, and runs no code, whatever a user at a
        # terminal answers.
        options["trust_remote_code"] = False
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, **options, **model_options)
    except (ValueError, RuntimeError, EOFError, KeyError, UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PolicyUnreadable(f"{source}: not a policy that can be loaded: {reason}") from error
    if fault := logprob_fault(model.eval()):
        raise PolicyUnreadable(f"{source}: {fault}")
    prompt = load_format(Path(source), _format_kind(tokenizer))
    return Policy(model, tokenizer, "chat" if tokenizer.chat_template else "plain", prompt)


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
    `vocab_size` of the BPE: `a = list(map(int, input().split()))` is then one token
    instead of sixteen. The weights follow from `seed` alone and the caller's random state does not change.
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
    bpe.add_tokens([AddedToken(idiom, normalized=False) for idiom in frequent_idioms(texts, idiom_share)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[PROBLEM, PROGRAM],
        clean_up_tokenization_spaces=False,
    )


def frequent_idioms(texts: list[str], share: float) -> list[str]:
    """Lines of programs and clauses of one-line statements that occur in at least `share` of the
    texts, sorted.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            {piece.strip() for piece in (text.split("\n") if "\n" in text else CLAUSE.findall(text))}
        )
    return sorted(
        piece
        for piece, count in counts.items()
        if len(piece) >= SHORTEST_IDIOM and count >= share * len(texts)
    )


def _format_kind(tokenizer: Any) -> str:
    """Which built-in prompt fits a tokenizer: that of chats, of our own markers, or of other models."""
    if tokenizer.chat_template:
        return "chat"
    return "plain" if {PROBLEM, PROGRAM} <= set(tokenizer.all_special_tokens) else "base"
