"""The configuration as YAML text that reads back to the same values, through PyYAML and through OmegaConf alike."""

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """OmegaConf reads 1e-3 as a number where YAML 1.1 reads text, so such texts are written in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value where it stands: anchors are for machines, this file is for people."""
        return True


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def to_yaml(config: dict[str, Any]) -> str:
    """`config` (plain dicts, lists and scalars) in its own key order; raises yaml.YAMLError for anything else."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
