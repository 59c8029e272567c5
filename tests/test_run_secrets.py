"""Secrets stay out of run folders, and innocent settings stay in."""

import shlex
from pathlib import Path

import pytest

from src.errors import UserError
from src.run.environment import describe_environment
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.ledger import record_test
from src.run.result import write_result
from src.run.secrets import REDACTED, find_secrets, is_secret_name, redact, redact_arguments, redact_text
from src.run.status import recording

SECRET = [
    "key",
    "token",
    "api_key",
    "apiKey",
    "API_KEY",
    "WANDB_API_KEY",
    "HF_TOKEN",
    "hfToken",
    "auth.token",
    "api_keys",
    "access_tokens",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "password",
    "db_password",
    "PGPASSWORD_password",
    "Passphrase",
    "my_secret",
    "secrets",
    "credentials",
    "credential_file",
    "apikey",
    "github_token",
    "key2",
]
HARMLESS = [
    "tokens",
    "num_tokens",
    "token_dropout",
    "monitor_key",
    "keys",
    "tokenizer",
    "tokenize",
    "keyboard",
    "pad_token",
    "eos_token",
    "special_tokens",
    "max_token",
    "label_key",
    "sort_key",
    "tokens_per_second",
    "throughput/tokens",
    "key_padding_mask",
    "keyframe",
    "num_kv_heads",
    "public_key",
    "model",
    "lr",
]


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets_are_known(name: str) -> None:
    """Snake, kebab, camel and upper case."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_only_look_like_secrets_are_left_alone(name: str) -> None:
    """Losing one of these would change what an evaluation builds from config.yaml."""
    assert not is_secret_name(name)


def test_redaction_keeps_the_shape_and_everything_innocent() -> None:
    """Lists, numbers and None under innocent names are equal afterwards."""
    config = {"a": [1, None, {"token": "x", "tokens": 5}], "credentials": {"user": "u", "ids": [7, True]}, "lr": 1e-3}
    expected = {
        "a": [1, None, {"token": REDACTED, "tokens": 5}],
        "credentials": {"user": REDACTED, "ids": [REDACTED, True]},
        "lr": 1e-3,
    }
    assert redact(config) == expected
    assert config["a"][2]["token"] == "x", "the argument must not change"


def test_values_of_secret_environment_variables_are_found_in_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight characters or more; shorter ones occur by chance."""
    monkeypatch.setenv("MY_API_KEY", "canary-123456")
    monkeypatch.setenv("SHORT_TOKEN", "demo")
    monkeypatch.setenv("NUM_TOKENS", "not-a-secret-at-all")
    text = "demo https://x/?k=canary-123456 not-a-secret-at-all"
    assert redact({"url": [text]}) == {"url": [f"demo https://x/?k={REDACTED} not-a-secret-at-all"]}


def test_a_secret_of_digits_is_found_although_it_became_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line turns digits into an integer."""
    monkeypatch.setenv("MY_PASSWORD", "1234567890")
    assert redact({"value": 1234567890, "other": 1234567891}) == {"value": REDACTED, "other": 1234567891}


def test_passwords_in_addresses_are_hidden() -> None:
    """The user name stays, it helps to find the mistake."""
    assert redact("postgres://me:hunter2@db/x") == f"postgres://me:{REDACTED}@db/x"


def test_a_command_is_redacted_and_still_one_shell_line() -> None:
    """Quoting survives a shell; overrides in Hydra's dict syntax are looked into."""
    arguments = [
        "python",
        "-m",
        "src.train",
        "name=two words",
        "+logger.wandb.api_key=c1",
        "~x",
        "l={api_key: c2, tokens: 5}",
    ]
    line = redact_arguments([*arguments, "auth.token.value='c3'", "$HOME"])
    parts = shlex.split(line)
    assert parts[3] == "name=two words"
    assert parts[-1] == "$HOME"
    assert "tokens: 5" in line
    assert not any(canary in line for canary in ("c1", "c2", "c3"))


def test_a_diff_loses_assigned_secrets_and_keeps_the_code_around_them() -> None:
    """Names decide, in Python, YAML and .env notation alike."""
    diff = "+api_key = 'sk-1'\n+HF_TOKEN=sk-2\n+  password: \"sk-3\"\n+num_tokens = 512\n+key_mask = ids == 0\n"
    clean = redact_text(diff)
    assert "sk-" not in clean
    assert "num_tokens = 512" in clean
    assert "key_mask = ids == 0" in clean


def test_no_file_of_a_run_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One canary in the environment, one in the config, one on the command line; then every byte is searched."""
    in_env, in_config, in_argv = b"canary-environment", b"canary-config-1", b"canary-argument"
    monkeypatch.setenv("SOME_API_KEY", in_env.decode())
    config = {"logger": {"api_key": in_config.decode()}, "note": in_env.decode() + in_config.decode()}
    arguments = ["src.train", f"a.password={in_argv.decode()}", in_env.decode(), in_config.decode()]
    folder = RunFolder.claim(tmp_path / "run")
    folder.write_config(config)
    folder.write_command(arguments, config=config)
    write_json(folder.environment, describe_environment(seed=1, data={"token": in_env.decode(), "x": in_env.decode()}))
    write_result(folder.result, {"name": in_env.decode(), "val/loss": 1.0})
    record_test(folder.path, arguments=arguments[:3], checkpoint_sha256=None, split="test", metrics={"test/acc": 1.0})
    with pytest.raises(UserError), recording(folder, known=find_secrets(config)):
        raise UserError(f"api_key ({in_config.decode()}) with {in_env.decode()} is refused.")
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert len(files) >= 7
    found = [(path.name, c) for path in files for c in (in_env, in_config, in_argv) if c in path.read_bytes()]
    assert found == []
