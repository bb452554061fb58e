"""The official splits that ship with the package: one list per dataset in ``official/<dataset>.csv``.

A list starts with comment lines: its version, where the ids come from, how they were compared, and how many each
part has. It changes only together with its version, because runs are compared by it.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import cast

from unet_exp.data._case import Part


@cache
def official_parts(name: str) -> Mapping[str, Part]:
    """The official part of everything in a dataset.

    Args:
        name: Name of the dataset as in ``conf/data``, e.g. ``isic2017``.

    Returns:
        Read-only; for ISIC from image ids (``ISIC_0000000``), for BCSS from institutions (``A2``, the second field of
        a case barcode) to parts. Empty for a dataset without a list.
    """
    file = files("unet_exp.data").joinpath("official", f"{name}.csv")
    if not file.is_file():
        return MappingProxyType({})
    lines = file.read_text(encoding="utf-8").splitlines()
    _header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    return MappingProxyType({key: cast(Part, part) for key, part, *_ in rows})
