"""A run's weights for other programs: the story of `python -m src.export`."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.check.config import check_settings
from src.check.signatures import settings_of
from src.data.bpe import Bpe
from src.errors import UserError
from src.launch.build import count_parameters
from src.launch.finished import checkpoint_of, kept_tokenizer, load_network, open_run
from src.model.llama import save_llama
from src.model.transformer import Transformer
from src.run.consolidate import SUMS_NAME, WEIGHTS_NAME, new_folder, write_weights


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of conf/export.yaml.

    Raises:
        UserError: no folder to write into.
    """

    run: str | None
    to: str | None
    format: Literal["safetensors", "llama"]

    def __post_init__(self) -> None:
        if self.to is None:
            raise UserError("to is missing: name a new folder for the weights, to=exports/<name>.")


def read_options(values: dict[str, Any]) -> Options:
    """The checked options of a composed config.

    Raises:
        UserError: a value of another type or outside its choices.
    """
    check_settings(values, settings_of(Options), key="", owner="python -m src.export", filled=set())
    return Options(**values)


def export(options: Options) -> None:
    """Write the weights of the best checkpoint, however many processes saved it, and how to read and use them."""
    run, config = open_run(options.run)
    network, checkpoint = load_network(run, config), checkpoint_of(run)
    tokenizer = kept_tokenizer(run)
    with new_folder(Path(options.to or "")) as folder:
        if options.format == "llama":
            if not isinstance(network, Transformer):
                raise UserError(
                    f"format (llama) needs a transformer that predicts tokens; run ({run.path}) is a "
                    f"{config['model']['_target_']}. Use format=safetensors."
                )
            is_bpe = tokenizer is not None and tokenizer.name == Bpe.FILE
            save_llama(network, folder, end_id=Bpe.END, tokenizer=tokenizer if is_bpe else None)
        else:
            write_weights(network.state_dict(), folder / WEIGHTS_NAME)
            for source in (run.config, tokenizer):
                if source is not None:
                    shutil.copyfile(source, folder / source.name)
    print(
        f"{count_parameters(network):,} weights of step {checkpoint.step} are in {options.to}; "
        f"`sha256sum -c {SUMS_NAME}` there checks the files."
    )
