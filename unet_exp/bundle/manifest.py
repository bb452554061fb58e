"""bundle.json: what is in a bundle, and whether it is still what was exported. Nothing here imports torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unet_exp.bundle.settings import NetworkFormat
from unet_exp.errors import UserError
from unet_exp.files import write_json
from unet_exp.prediction.description import ModelDescription

FILE_NAME = "bundle.json"
FORMAT = 1
"""Raised when a bundle of today could not be read by the code of before."""

_AGAIN = "Copy the bundle again, or export it again with python -m unet_exp.export."
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """How the file of the network is run.

    Args:
        format: What it is written in.
        file: Its name in the bundle.
        input: Name of the input: uint8 (N, C, H, W).
        output: Name of the output: float32 logits (N, K, H, W).
        size_multiple: H and W must be multiples of it.
        smallest_side: H and W must not be smaller.
    """

    format: NetworkFormat
    file: str
    input: str
    output: str
    size_multiple: int
    smallest_side: int

    def padded(self, side: int) -> int:
        """The smallest side that the network takes and an image of `side` pixels fits into."""
        return max(self.smallest_side, -(-side // self.size_multiple) * self.size_multiple)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What bundle.json holds.

    Args:
        model: What the network expects and what its outputs mean.
        network: How it is run.
        files: SHA-256 of the files, by name.
        run: Where the network comes from: name, checkpoint, hash of the split.
        versions: What it was trained and exported with.
        parity: How far the exported network is from the trained one.
    """

    model: ModelDescription
    network: NetworkFile
    files: Mapping[str, str]
    run: Mapping[str, Any]
    versions: Mapping[str, Any]
    parity: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write bundle.json, with a hash of all that is in it."""
        content = {
            "format": FORMAT,
            "model": self.model.to_dict(),
            "network": asdict(self.network),
            "files": dict(self.files),
            "run": dict(self.run),
            "versions": dict(self.versions),
            "parity": dict(self.parity),
        }
        write_json(folder / FILE_NAME, {**content, "identity": identity_of(content)})


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read bundle.json and compare every file of the bundle with its checksum.

    Returns:
        What it holds, and the hash of that.

    Raises:
        UserError: If it is no bundle, one of a later version, or not what was exported.
    """
    file = folder / FILE_NAME
    content = _read(file)
    if not isinstance(content.get("format"), int) or content["format"] > FORMAT:
        raise UserError(
            f"{file} has format {content.get('format')!r}, but this version of unet_exp reads up to {FORMAT}. "
            "Install a newer one."
        )
    identity = content.pop("identity", None)
    if identity != identity_of(content):
        raise UserError(f"{file} was changed or damaged after the export: its hash differs. {_AGAIN}")
    manifest = _parse(content, file)
    for name, expected in manifest.files.items():
        _verify(folder / name, expected)
    return manifest, str(identity)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        problem = f"it has no {FILE_NAME}" if file.parent.is_dir() else "it does not exist"
        raise UserError(f"{file.parent} is not a bundle: {problem}. Give a folder that unet_exp.export wrote.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}). {_AGAIN}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged: it does not describe a bundle. {_AGAIN}")
    return content


def _parse(content: Mapping[str, Any], file: Path) -> Manifest:
    try:
        return Manifest(
            model=ModelDescription.from_dict(content["model"], file),
            network=NetworkFile(**content["network"]),
            **{name: content[name] for name in ("files", "run", "versions", "parity")},
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} does not describe a bundle: {error}. {_AGAIN}") from None


def _verify(file: Path, expected: str) -> None:
    if not file.is_file():
        raise UserError(f"{file} is missing from the bundle. {_AGAIN}")
    if checksum(file) != expected:
        raise UserError(f"{file} is damaged: its SHA-256 is not the one in {FILE_NAME}. {_AGAIN}")


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def identity_of(content: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits over the content of bundle.json, without themselves."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
