"""Whatever is typed wrong: one or two sentences, exit code 2, no traceback, nothing left behind."""

import pytest

from tests.conftest import SMALL, door

# What is typed, and words that the answer has to hold: the key with its value, and the way out.
WRONG = [
    (["optimizer.lrr=1"], ["optimizer.lrr", "optimizer.lr?"]),
    (["+optimizer.lrr=1"], ["optimizer.lrr (1)", "optimizer.lr?"]),
    (["+typo=1"], ["typo (1)", "Legal: seed"]),
    (["optimizer.lr=abc"], ["optimizer.lr (abc)", "number"]),
    (["optimizer.lr=-1"], ["optimizer.lr (-1)", ">= 0"]),
    (["optimizer.lr=nan"], ["optimizer.lr (nan)", "finite"]),
    (["optimizer.lr=1e400"], ["optimizer.lr", "finite"]),
    (["optimizer.lr=null"], ["optimizer.lr (null)"]),
    (["model=bilstn"], ["model=bilstn", "model=bilstm"]),
    (["optimiser=adam"], ["optimiser", "optimizer"]),
    (["data.path=/nope"], ["data.path (/nope)", "data=demo"]),
    (["precision=fp16", "trainer.accelerator=cpu"], ["precision=fp16", "GPU", "precision=bf16"]),
    (["model.pooling=mean"], ["model.pooling", "pad_to_max_length"]),
    (["model.dropout=1.5"], ["dropout (1.5)"]),
    (["data.head=500", "data.max_length=200"], ["data.head (500)"]),
    (["trainer.max_epochs=many"], ["trainer.max_epochs (many)", "whole number"]),
    (["callbacks.early_stopping.monitor=val/lsos"], ["val/lsos", "val/loss"]),
    (["+callbacks.extra.patience=3"], ["callbacks.extra", "_target_"]),
    (["model._target_=os.system"], ["os.system"]),
    (["model._target_=src.model.bilstm.torch.load"], ["src.model.bilstm.torch.load"]),
    (["schedule.warmup=2.5"], ["schedule.warmup (2.5)"]),
    (["accumulation.batches=4"], ["accumulation.batches"]),
    (["data=demo", "data.path=/x"], ["data.path (/x)"]),
    (["seed=-1"], ["seed (-1)"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value))
def test_a_mistake_is_answered_in_a_sentence(tmp_path, arguments, words):
    base = SMALL if "data.path=/nope" not in arguments else []
    done = door("train", *base, f"paths.output_dir={tmp_path}", *arguments, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert [word for word in words if word not in sentence] == []
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr


def test_a_missing_label_column_is_named_with_the_columns_there_are(tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_text("text,sentiment\n" + "good film,1\nbad film,0\n" * 20)
    done = door("train", f"data.path={file}", f"paths.output_dir={tmp_path}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in (str(file), "label", "sentiment"):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("train", "hydra.run.dir=/proc/x/y"),
        ("check", "hydra.run.dir=/dev/null"),
        ("train", "paths.output_dir=/etc/hostname"),
    ],
)
def test_a_run_folder_that_cannot_be_made_is_answered_in_a_sentence(name, typed):
    done = door(name, *SMALL, typed)
    assert done.returncode == 2
    assert "cannot be made a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_may_have_its_option_between_the_settings(tmp_path):
    done = door("train", "data=demo", "-m", "optimizer.lr=abc,def", f"paths.output_dir={tmp_path}")
    assert done.returncode == 2
    assert "optimizer.lr (abc)" in done.stderr
    assert "usage" not in done.stderr


def test_a_refused_command_leaves_no_run_folder(tmp_path):
    door("train", "optimizer.lr=abc", f"paths.output_dir={tmp_path}")
    assert not list(tmp_path.glob("train/*"))


def test_check_says_ok_and_trains_nothing(tmp_path):
    done = door("check", *SMALL, f"paths.output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok"
    assert "examples per optimizer step" in done.stdout
    assert not list(tmp_path.iterdir())


def test_check_refuses_what_train_refuses(tmp_path):
    done = door("check", "optimizer.lrr=1")
    assert done.returncode == 2
    assert "optimizer.lr?" in done.stderr


def test_help_lists_the_groups():
    done = door("train", "--help")
    assert done.returncode == 0
    assert "optimizer: adam" in done.stdout
