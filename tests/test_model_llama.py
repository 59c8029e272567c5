"""Llama folders mean here what they mean in transformers, read and written."""

import json
import warnings

import pytest
import torch

from src.errors import UserError
from src.model.llama import load_llama, save_llama
from src.model.llama_files import INDEX, SINGLE
from src.model.transformer import Transformer
from tests.test_model_transformer import SCALING, SMALL, wide_awake

transformers = pytest.importorskip("transformers")

LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
# Options of transformers' config.
KINDS = {
    "mha": {},
    "gqa_tied": dict(num_key_value_heads=2, tie_word_embeddings=True),
    "mqa_wide_heads": dict(num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-3),
    "base": dict(rope_parameters=dict(rope_type="default", rope_theta=500.0)),
    "llama3": dict(rope_parameters=dict(rope_theta=500000.0, **LLAMA3)),
}


@pytest.fixture(autouse=True)
def quiet_progress():
    transformers.utils.logging.disable_progress_bar()


def tokens():
    return torch.randint(0, 61, (2, 50), generator=torch.Generator().manual_seed(1))


def their_folder(folder, **options):
    """A random network of transformers, saved; every weight and gain far from where it starts."""
    sizes = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    config = transformers.LlamaConfig(**sizes, max_position_embeddings=64, **options)
    model = wide_awake(transformers.LlamaForCausalLM(config).eval())
    model.save_pretrained(folder)
    return model


def theirs(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_folder_of_transformers_gives_its_logits_here_and_back(tmp_path, kind):
    model = their_folder(tmp_path / "theirs", **KINDS[kind])
    expected = model(tokens()).logits
    assert expected.std() > 0.3
    ours = load_llama(tmp_path / "theirs")
    torch.testing.assert_close(ours(tokens()), expected, atol=1e-4, rtol=0)
    save_llama(ours, tmp_path / "ours")
    torch.testing.assert_close(theirs(tmp_path / "ours")(tokens()).logits, expected, atol=1e-4, rtol=0)


OURS = {
    "gqa_untied": dict(num_kv_heads=2, tie_embeddings=False),
    "mha_tied_scaled": dict(rotary_scaling=SCALING, rotary_base=500000.0),
}


@pytest.mark.parametrize("max_shard_bytes", [10**9, 9000], ids=["one_file", "sharded"])
@pytest.mark.parametrize("kind", OURS)
@torch.no_grad()
def test_our_network_means_the_same_in_transformers_and_comes_back_equal(tmp_path, kind, max_shard_bytes):
    ours = wide_awake(Transformer(**SMALL, **OURS[kind]))
    save_llama(ours, tmp_path / "out", max_shard_bytes=max_shard_bytes)
    assert (tmp_path / "out" / INDEX).exists() is (max_shard_bytes == 9000)
    torch.testing.assert_close(theirs(tmp_path / "out")(tokens()).logits, ours(tokens()), atol=1e-4, rtol=0)
    back = load_llama(tmp_path / "out")
    for name, weight in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name


def test_shards_keep_to_their_size_and_the_index_names_every_tensor(tmp_path):
    ours = Transformer(**SMALL, tie_embeddings=False)
    save_llama(ours, tmp_path, max_shard_bytes=9000)
    index = json.loads((tmp_path / INDEX).read_text())
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert sorted(set(index["weight_map"].values())) == files
    assert index["metadata"]["total_size"] == sum(parameter.nbytes for parameter in ours.parameters())
    for file in files:
        assert (tmp_path / file).stat().st_size < 9000 + 2000, "the header comes on top"


def greedy(model, ids):
    for _ in range(30):
        ids = torch.cat([ids, model(ids, last_only=True).argmax(-1)], dim=1)
    return ids


@torch.no_grad()
def test_the_same_greedy_text_and_no_end_at_an_ordinary_token(tmp_path):
    """Left to themselves, transformers would take token 2 for the end of every text."""
    ours, ids = wide_awake(Transformer(**SMALL, num_kv_heads=2)), tokens()[:1, :4]
    # Exchange the names of token 2 and of one that is generated, so that 2 is.
    other = greedy(ours, ids)[0, 9]
    names = torch.arange(61)
    names[2], names[other] = other, 2
    ours.embedding.weight.copy_(ours.embedding.weight[names].clone())
    expected = greedy(ours, names[ids])
    assert 2 in expected[0, 4:-1]
    save_llama(ours, tmp_path)
    options = dict(attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, pad_token_id=0)
    assert torch.equal(theirs(tmp_path).generate(names[ids], **options), expected)


@torch.no_grad()
def test_bfloat16_is_written_and_read_to_the_bit(tmp_path):
    ours = Transformer(**SMALL).to(torch.bfloat16)
    save_llama(ours, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    back = load_llama(tmp_path, dtype=torch.bfloat16)
    for name, weight in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name
    assert load_llama(tmp_path).embedding.weight.dtype == torch.float32


@torch.no_grad()
def test_the_keys_of_older_versions_mean_the_same(tmp_path):
    """Before transformers 5: rope_theta and rope_scaling, `type` for the kind, and tables among the weights."""
    model = their_folder(tmp_path, **KINDS["llama3"])
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    scaling = {key: value for key, value in LLAMA3.items() if key != "rope_type"}
    config |= {"rope_theta": 500000.0, "rope_scaling": {"type": "llama3", **scaling}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(load_llama(tmp_path)(tokens()), model(tokens()).logits, atol=1e-4, rtol=0)


def test_a_table_or_a_tied_head_among_the_weights_does_no_harm(tmp_path):
    from safetensors.torch import load_file, save_file

    their_folder(tmp_path, **KINDS["gqa_tied"])
    weights = load_file(tmp_path / SINGLE)
    expected = load_llama(tmp_path)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / SINGLE, metadata={"format": "pt"})
    assert torch.equal(load_llama(tmp_path)(tokens()), expected(tokens()))


def test_options_of_the_reader_win_over_the_config(tmp_path):
    save_llama(Transformer(**SMALL), tmp_path)
    model = load_llama(tmp_path, max_length=128, dropout=0.1, checkpointing="blocks")
    assert (model.max_length, model.dropout.p) == (128, 0.1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(architectures=["MistralForCausalLM"]), r"architectures \(\['MistralForCausalLM'\]\)"),
        (dict(model_type="qwen2"), r"model_type \(qwen2\) must be llama"),
        (dict(attention_bias=True), r"attention_bias \(True\) must be False"),
        (dict(hidden_act="gelu"), r"hidden_act \(gelu\) must be silu"),
        (dict(rope_scaling=dict(rope_type="yarn", factor=2.0)), r"rope_type \(yarn\) must be default or llama3"),
        (dict(rope_scaling=dict(type="linear", factor=2.0)), r"rope_type \(linear\)"),
        (dict(rope_scaling=dict(rope_type="llama3", factor=2.0)), r"also needs low_freq_factor, high_freq_factor"),
        (dict(quantization_config=dict(bits=4)), r"quantization_config"),
        (dict(num_hidden_layers=3), r"lack model.layers.2.input_layernorm.weight"),
        (dict(num_hidden_layers=1), r"model.layers.1.* is no weight of the network"),
        (dict(intermediate_size=64), r"model.layers.0.mlp.gate_proj.weight \(48, 32\) must be \(64, 32\)"),
    ],
)
def test_what_this_network_is_not_is_refused_by_name_and_value(tmp_path, changes, sentence):
    save_llama(Transformer(**SMALL), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(UserError, match=sentence):
        load_llama(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_llama(tmp_path)
    save_llama(Transformer(**SMALL), tmp_path / "a", max_shard_bytes=9000)
    next((tmp_path / "a").glob("model-00003*")).unlink()
    with pytest.raises(UserError, match="lacks model-00003"):
        load_llama(tmp_path / "a")
    (tmp_path / "a" / INDEX).unlink()
    with pytest.raises(UserError, match="other formats are not read"):
        load_llama(tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "sentence"), [(dict(qk_norm=True), r"qk_norm \(true\)"), (dict(window=4), r"window \(4\)")]
)
def test_a_network_that_no_llama_is_is_not_written(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        save_llama(Transformer(**SMALL, **options), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_not_written_into(tmp_path):
    (tmp_path / "model-00007-of-00009.safetensors").touch()
    with pytest.raises(UserError, match="must be new or empty"):
        save_llama(Transformer(**SMALL), tmp_path)


def test_the_tokenizer_goes_along_and_splits_as_it_did(tmp_path):
    """A byte-level tokenizer.json of ours, read by AutoTokenizer, gives the same numbers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat, the cats sat"] * 3, trainer)
    tokenizer.save(str(tmp_path / "made.json"))
    (tmp_path / "generation_config.json").write_text("{}")
    options = dict(tokenizer=tmp_path / "made.json", copies=[tmp_path / "generation_config.json"], end_id=0)
    save_llama(Transformer(**{**SMALL, "vocab_size": 300}), tmp_path / "out", **options)
    text = "The cat  sat,\nnaïve…"
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"] == tokenizer.encode(text).ids
    assert (tmp_path / "out" / "generation_config.json").read_text() == "{}"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 0
