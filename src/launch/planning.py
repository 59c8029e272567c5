"""`plan.device=H100-80GB plan.mfu=0.4`: the settings of `python -m src.check` that no training has."""

from omegaconf import DictConfig, OmegaConf, open_dict

from src.check.config import check_settings
from src.check.device import Device, Planning, named_device
from src.check.signatures import settings_of


def take_planning(composed: DictConfig) -> tuple[Planning, Device | None]:
    """The section `plan` of conf/check.yaml, taken out of the config, and the device it names.

    Raises:
        UserError: a value of the wrong type or range, or a device that is not known.
    """
    section = OmegaConf.to_container(composed.plan, resolve=True)
    assert isinstance(section, dict)
    with open_dict(composed):
        del composed.plan
    owner = "the section plan of conf/check.yaml"
    check_settings(section, settings_of(Planning), key="plan", owner=owner, filled=set())
    planning = Planning(**{str(name): value for name, value in section.items()})
    return planning, None if planning.device is None else named_device(planning.device)
