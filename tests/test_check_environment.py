"""Environment variables in a config."""

import pytest
from omegaconf import OmegaConf

from src.check.environment import check_environment
from src.errors import UserError

REFUSED = [
    "${oc.env:WANDB_API_KEY}",
    "${oc.env:WANDB_API_KEY,nothing}",
    "x${ oc.env : HF_TOKEN }y",
    "${oc.env:'AWS_SECRET_ACCESS_KEY'}",
    '${oc.env:"DB_PASSWORD"}',
    "${oc.decode:${oc.env:GITHUB_TOKEN}}",
    "${oc.env:SLURM_JWT_TOKEN}",
    "${oc.env:PATH}",
    "${oc.env:LD_PRELOAD}",
    "${oc.env:home}",
    "${oc.env:${name}}",
    "${oc.env:${oc.env:HOME}}",
    "${${resolver}:WANDB_API_KEY}",
    "${oc.${x}:WANDB_API_KEY}",
    "${oc.env:}",
    "${oc.env:HOME\n_KEY}",
    "${oc.env:HOME} ${oc.env:HF_TOKEN}",
]
ALLOWED = [
    "${oc.env:HOME}/runs",
    "${oc.env:USER,nobody}",
    "${oc.env:SLURM_JOB_ID,0}",
    "${oc.env:CUDA_VISIBLE_DEVICES}",
    "${oc.env:TMPDIR,${paths.output_dir}}",
    "${paths.output_dir}/cache",
    "${now:%Y-%m-%d}_${short_id:}",
    "${hydra:runtime.choices.model}",
    "plain text, a ${ alone and $HOME",
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_secret_or_unlisted_variable_is_refused_with_its_key(text: str) -> None:
    for raw, key in (({"a": {"b": text}}, r"a\.b"), ({"a": [0, {"b": text}]}, r"a\[1\]\.b")):
        with pytest.raises(UserError, match=f"^{key} "):
            check_environment(raw)


@pytest.mark.parametrize("text", ALLOWED)
def test_a_listed_variable_or_any_other_resolver_passes(text: str) -> None:
    check_environment({"a": {"b": text, "c": [text], "d": 1, "e": None}})


def test_what_omegaconf_would_read_is_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever OmegaConf resolves to a secret is refused: this holds the regular expression to the real parser."""
    for name in ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "canary")
    leaking = []
    for text in REFUSED + ALLOWED:
        try:
            config = OmegaConf.create({"value": text, "resolver": "oc.env", "x": "env", "name": "HF_TOKEN"})
            resolved = str(config.value)
        except Exception:
            continue
        leaking += [text] if "canary" in resolved else []
    assert len(leaking) >= 7, leaking
    for text in leaking:
        with pytest.raises(UserError):
            check_environment({"value": text})
