"""`python -m src.generate`: the same text with every cache, refusals in a sentence, one object per prompt."""

import json

import pytest
import torch
import yaml

from src.data.bpe import train_bpe
from src.errors import UserError
from src.generate import quoted
from src.launch.compose import plain
from src.launch.generating import generate, read_options
from src.model.llama import save_llama
from src.model.transformer import Transformer
from src.run.checkpoint import VerifiedCheckpointIO
from src.run.manifest import step_folder
from tests.conftest import door

PROMPTS = ["the cat", "that was", "", "on a mat, said the cat"]
SIZES = {"vocab_size": 270, "width": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
SIZES |= {"feed_forward_width": 48, "max_length": 48}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Transformer(**SIZES).eval()
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            parameter.mul_(16 if parameter.dim() == 2 else 1)
    return network


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """The folder that a run of a language model leaves, as far as generating text reads it."""
    folder = tmp_path_factory.mktemp("run")
    texts = ["the cat sat on the mat and that was that, said the cat on a mat that sat there"] * 9
    train_bpe(texts, vocab_size=270).save(folder / "tokenizer.json")
    # Trained with a backend that this machine does not have, as a run from a GPU may be.
    attention = {"_target_": "src.attention.flash.attend", "_partial_": True}
    config = {"model": {"_target_": "src.model.transformer.Transformer", **SIZES, "attention": attention}}
    config["data"] = {"max_length": 40}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "status.json").write_text(json.dumps({"state": "finished"}))
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    state = {"state_dict": weights, "global_step": 1}
    path = step_folder(folder / "checkpoints", 1) / "state.ckpt"
    VerifiedCheckpointIO().save_checkpoint(state, path, storage_options={"scores": {"val/loss": 1.0}})
    return folder


@pytest.fixture
def answers(compose, run, capsys):
    """`answers("cache=paged", ...)` -> the JSON objects that the door would print for these overrides."""

    def given(*overrides):
        base = [] if any(word.startswith("run=") for word in overrides) else [f"run={run}"]
        generate(read_options(plain(compose(*base, "format=json", *overrides, config_name="generate"))))
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return given


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n")
    return path


def test_every_cache_and_every_batch_gives_the_text_of_none(answers, file):
    """Greedy, more prompts than rows; prompts come back in their order."""
    common = [f"file={file}", "temperature=0", "max_new_tokens=20"]
    expected = answers(*common, "cache=none", "batch_size=1")
    assert [answer["prompt"] for answer in expected] == PROMPTS
    assert all(answer["tokens"] == 20 for answer in expected)
    for cache in (
        ["cache=contiguous"],
        ["cache=contiguous", "cache.static=true"],
        ["cache=paged"],
        ["cache=paged", "cache.page_size=3", "cache.num_pages=24", "prefill_chunk=2"],
    ):
        for size in (1, 3):
            assert answers(*common, *cache, f"batch_size={size}") == expected


def test_a_llama_folder_gives_the_text_of_the_run_it_came_from(answers, network, run, tmp_path):
    save_llama(network, tmp_path / "llama", end_id=0, tokenizer=run / "tokenizer.json")
    common = ["prompt='the cat'", "temperature=0", "max_new_tokens=20"]
    assert answers(f"run={tmp_path / 'llama'}", *common) == answers(*common)


def test_sampling_follows_the_seed(answers):
    common = ["prompt='the cat'", "temperature=1.2", "top_k=100", "top_p=0.95", "repetition_penalty=1.1"]
    first, again, other = (answers(*common, f"seed={seed}") for seed in (3, 3, 4))
    assert first == again != other


def test_a_text_ends_at_the_context_and_the_door_says_so(compose, run, capsys):
    options = plain(compose(f"run={run}", "prompt=t", "temperature=0", "format=json", config_name="generate"))
    generate(read_options(options))
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer["end"] == "context"
    assert answer["tokens"] == SIZES["max_length"] - 2
    ended, beyond = shown.err.splitlines()
    assert ended == "1 of 1 texts ended with the context of 48 tokens."
    assert "longer than the 40 tokens" in beyond


@pytest.mark.parametrize("cache", ["none", "contiguous", "paged"])
def test_weights_and_cache_may_be_bf16(answers, file, cache):
    found = answers(f"file={file}", "temperature=0", "max_new_tokens=5", "dtype=bf16", f"cache={cache}")
    assert [answer["tokens"] for answer in found] == [5] * len(PROMPTS)


def test_stop_strings_are_texts_or_lists_of_them(answers):
    common = ["prompt='the cat'", "temperature=0", "max_new_tokens=20"]
    text = answers(*common)[0]["text"]
    stop = next(character for character in text[3:] if character.isalnum())
    for written in (f"stop='{stop}'", f"stop=['no such thing','{stop}']"):
        answer = answers(*common, written)[0]
        assert (answer["text"], answer["end"]) == (text[: text.index(stop)], "stop")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["prompt=a", "file=b"], ["prompt and file"]),
        (["prompt=a", "temperature=warm"], ["temperature (warm)", "number"]),
        (["prompt=a", "temperature=0", "top_k=5"], ["top_k (5)", "temperature=0"]),
        (["prompt=a", "max_new_tokens=0"], ["max_new_tokens (0)", ">= 1"]),
        (["prompt=a", "format=xml"], ["format (xml)"]),
        (["prompt=a", "stop=[1]"], ["stop ([1])", "text"]),
        (["prompt=a", "stop=['']"], ["stop", "empty"]),
        (["prompt=a", "max_length=49"], ["max_length (49)", "48"]),
        (["prompt=a", "cache.static=1"], ["cache.static (1)"]),
        (["prompt=a", "cache=paged", "cache.page_size=0"], ["cache.page_size (0)", ">= 1"]),
        (["prompt=a", "cache._target_=src.model.bilstm.BiLSTM"], ["cache", "paged"]),
        (["prompt=a", "cache._target_=os.system"], ["os.system"]),
        (["file=/nope.txt"], ["/nope.txt"]),
        (["prompt='" + "cat " * 60 + "'"], ["prompt 1", "48"]),
        (["stream=true", "file=b"], ["stream (true)", "prompt="]),
        (["run=no-such-run", "prompt=a"], ["no-such-run"]),
    ],
    ids=str,
)
def test_a_mistake_is_answered_in_a_sentence(answers, overrides, words):
    with pytest.raises(UserError) as caught:
        answers(*overrides)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_run_that_is_no_language_model_is_refused(answers, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"_target_": "src.model.bilstm.BiLSTM"}}))
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(UserError, match=r"src.model.bilstm.BiLSTM.*task=language_model"):
        answers(f"run={tmp_path}", "prompt=a")


def test_a_llama_folder_without_a_tokenizer_is_refused(answers, network, tmp_path):
    save_llama(network, tmp_path / "llama")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        answers(f"run={tmp_path / 'llama'}", "prompt=a")


def test_the_door_streams_one_text_behind_its_prompt(run, answers):
    """Any sentence as it is typed, and the text as it would come in one piece."""
    prompt = "don't, he said: [a=b] ${x} caf\u00e9"
    arguments = [f"prompt={prompt}", "temperature=0", "max_new_tokens=12"]
    done = door("generate", f"run={run}", *arguments)
    assert done.returncode == 0, done.stderr
    whole = answers(*map(quoted, arguments))[0]
    assert done.stdout == prompt + whole["text"] + "\n"
    assert whole["text"]


def test_the_door_reads_standard_input_and_answers_in_order(run):
    done = door("generate", f"run={run}", "cache=paged", "max_new_tokens=5", "stop=,", input="the cat\nthat\n")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("\n\nthat")
    assert first.startswith("the cat")
    assert second.endswith("\n")


def test_the_door_exits_with_2_and_one_sentence(run):
    done = door("generate", f"run={run}", "cache=pged", "prompt=a")
    assert done.returncode == 2
    assert "cache=paged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_prompt_is_not_shown(compose, run, capsys):
    options = [f"run={run}", "prompt=the cat sat on the mat", "cache=paged", "cache.page_size=1", "cache.num_pages=1"]
    with pytest.raises(UserError, match="num_pages"):
        generate(read_options(plain(compose(*options, config_name="generate"))))
    assert capsys.readouterr().out == ""


def test_a_compiled_step_is_refused_where_keys_do_not_stay_in_place(answers, run):
    with pytest.raises(UserError, match=r"compile \(true\) needs cache=contiguous"):
        answers(f"run={run}", "prompt=a", "compile=true", "cache=paged")


def test_only_free_text_is_quoted():
    typed = ["stop=[a,b]", "stop=a,b", "prompt=it's", "run=a,b", "cache=paged"]
    assert [quoted(word) for word in typed] == ["stop=[a,b]", "stop='a,b'", "prompt='it\\'s'", "run=a,b", "cache=paged"]
