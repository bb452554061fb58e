"""Run folders as a training and its scoring leave them, with counts that are drawn rather than measured."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml
from PIL import Image

TISSUE = ("tumor", "stroma", "inflammatory", "necrosis", "other")
VIEWS = ("image", "truth", "prediction", "error")


@dataclass(frozen=True)
class FakeRun:
    """What distinguishes one fake run: the higher `quality` (0 to 1), the more pixels are right."""

    model: str = "unet"
    seed: int = 0
    quality: float = 0.8
    images: int = 20
    patients: int = 10
    parts: Sequence[str] = ("val", "test")
    classes: Sequence[str] = TISSUE
    target: str = "unet_exp.data.bcss.BCSS"
    split_hash: str = "bdb00510fe8b448e"
    scheme: str = "official"
    gmacs: float = 5.0
    pixels: int = 40_000
    epochs: int = 6
    cases: bool = True
    counts: bool = True
    state: str = "finished"
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    fold: int | None = None
    """Of a cross-validation with `folds` folds, by patient: the `images` are then divided, and `val` is held out."""
    folds: int = 5
    split_seed: int = 0

    def __post_init__(self):
        if self.fold is not None:
            object.__setattr__(self, "parts", ("val",))
            object.__setattr__(self, "split_hash", f"{self.split_seed}-{self.fold}-of-{self.folds}")
            object.__setattr__(self, "scheme", f"fold {self.fold} of {self.folds} by patient, seed {self.split_seed}")

    def numbers(self, part: str) -> list[int]:
        """Numbers of the images that belong to a part."""
        if self.fold is None:
            return list(range(self.images))
        held_out = [n for n in range(self.images) if (n + self.split_seed) % self.patients % self.folds == self.fold]
        return {"val": held_out, "test": []}.get(part, sorted(set(range(self.images)) - set(held_out)))

    def case_name(self, part: str, number: int) -> str:
        return f"case-{part if self.fold is None else 'all'}-{number:03d}"

    @property
    def binary(self) -> bool:
        return len(self.classes) == 1


def write_run(parent: Path, fake: FakeRun) -> Path:
    """Write the folder and return it."""
    data = fake.target.split(".")[-2]
    folder = parent / (fake.name or f"{fake.model}-{data}-{crc32(repr(fake).encode()):08x}")
    folder.mkdir(parents=True)
    _write_config(folder, fake)
    _dump(folder / "status.json", {"state": fake.state, "reason": "", "time": "2026-11-21T22:07:38+00:00"})
    git = {"commit": "0123456789abcdef", "dirty": False}
    _dump(folder / "environment.json", {"git": git, "device": "cpu", "command": ["train.py"]})
    ids = {part: [fake.case_name(part, n) for n in fake.numbers(part)] for part in ("train", "val", "test")}
    _dump(folder / "split.json", {"scheme": fake.scheme, "hash": fake.split_hash, **ids})
    _write_history(folder / "history.csv", fake)
    if fake.state == "finished":
        write_evaluation(folder, fake)
    return folder


def write_evaluation(folder: Path, fake: FakeRun) -> None:
    """metrics.json, per_image.csv, and pictures."""
    matrices = {part: confusion_matrices(fake, part) for part in fake.parts}
    background = ["background"] if fake.binary else []
    names = [*background, *fake.classes]
    metrics: dict[str, Any] = {
        "checkpoint": "best",
        "best_epoch": fake.epochs,
        "parameters": int(fake.gmacs * 1e6),
        "gmacs": fake.gmacs,
        "train_seconds": 369.0 + 10 * fake.seed,
        "images_per_second": 40.0 / fake.gmacs,
        "peak_memory_mb": 500 + 10 * fake.gmacs,
        "conventions": {
            "headline": "per_image" if fake.binary else "global",
            "scored_classes": list(fake.classes),
            "absent_class": "excluded from means and counted",
        },
    }
    rows: list[dict[str, Any]] = []
    for part, stack in matrices.items():
        metrics[part] = _scores(stack, names, fake)
        rows += _rows(part, stack, names, fake)
        if fake.cases:
            _write_cases(folder / "cases", part, rows, seed=fake.seed)
    _dump(folder / "metrics.json", metrics)
    _write_csv(folder / "per_image.csv", rows)


def confusion_matrices(fake: FakeRun, part: str) -> np.ndarray:
    """(N, K, K) of the part's images. The truth and how hard an image is depend on the part alone, as in reality."""
    size = len(fake.classes) + fake.binary
    shared = np.random.default_rng([len(part), fake.images])
    own = np.random.default_rng([len(part), fake.seed, sum(map(ord, fake.model)), *([fake.fold] if fake.fold else [])])
    share = shared.dirichlet(np.full(size, 2.0), fake.images)
    truth = np.floor(share * fake.pixels).astype(int)
    hardness = shared.normal(0, 0.35, fake.images)
    logit = np.log(fake.quality / (1 - fake.quality)) + own.normal(0, 0.02)
    right = 1 / (1 + np.exp(-(logit - hardness + own.normal(0, 0.08, fake.images))))
    matrices = np.zeros((fake.images, size, size), int)
    for n in range(fake.images):
        for k in range(size):
            others = np.full(size, (1 - right[n]) / (size - 1))
            others[k] = right[n]
            matrices[n, k] = own.multinomial(truth[n, k], others)
    return matrices[fake.numbers(part)]


def _scores(stack: np.ndarray, names: Sequence[str], fake: FakeRun) -> dict[str, Any]:
    dice, iou = _ratios(stack if fake.binary else stack.sum(0, keepdims=True))
    scored = [names.index(name) for name in fake.classes]
    accuracy = stack.trace(axis1=1, axis2=2).sum() / stack.sum()
    scores: dict[str, Any] = {
        "dice": float(dice[:, scored].mean()),
        "iou": float(iou[:, scored].mean()),
        "accuracy": float(accuracy),
        "images": len(stack),
        "absent": dict.fromkeys(fake.classes, 0),
        "missed": dict.fromkeys(fake.classes, 1),
        "confusion": stack.sum(0).tolist(),
        "calibration": _calibration(fake),
        "bootstrap": {"draws": 10_000, "level": 0.95, "method": "percentile", "clusters": 10, "cluster_by": "patient"},
        **{f"dice_{names[k]}": float(dice[:, k].mean()) for k in scored},
        **{f"iou_{names[k]}": float(iou[:, k].mean()) for k in scored},
    }
    if fake.binary:
        scores["thresholds"] = [{"threshold": t, "dice": 0.8 - abs(t - 0.5)} for t in (0.25, 0.5, 0.75)]
    return scores


def _calibration(fake: FakeRun) -> dict[str, Any]:
    edges = np.linspace(0, 1, 11)
    bins = [
        {"low": low, "high": high, "count": 1000 * (i + 1), "confidence": (low + high) / 2, "accuracy": low * 0.95}
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return {"ece": 0.05 + 0.1 * (1 - fake.quality), "brier": 0.2, "bins": bins}


def _ratios(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hits = stack.diagonal(axis1=1, axis2=2)
    both = stack.sum(1) + stack.sum(2)
    return 2 * hits / both, hits / (both - hits)


def _rows(part: str, stack: np.ndarray, names: Sequence[str], fake: FakeRun) -> list[dict[str, Any]]:
    dice, iou = _ratios(stack)
    scored = [names.index(name) for name in fake.classes]
    rows = []
    for position, (n, matrix) in enumerate(zip(fake.numbers(part), stack, strict=True)):
        row = {
            "part": part,
            "image": fake.case_name(part, n),
            "patient": f"patient-{n % fake.patients}",
            "institution": "",
            "labelled_pixels": int(matrix.sum()),
            "dice": dice[position, scored].mean(),
            "iou": iou[position, scored].mean(),
            "accuracy": matrix.trace() / matrix.sum(),
        }
        for k in scored:
            hits = matrix[k, k]
            counts = {"tp": hits, "fp": matrix[:, k].sum() - hits, "fn": matrix[k].sum() - hits}
            if fake.counts:
                row |= {f"{kind}_{names[k]}": int(count) for kind, count in counts.items()}
            row |= {f"dice_{names[k]}": dice[position, k], f"iou_{names[k]}": iou[position, k]}
        rows.append(row)
    return rows


def _write_config(folder: Path, fake: FakeRun) -> None:
    background = {"background": {"color": [0, 0, 0], "codes": [0], "scored": False}} if fake.binary else {}
    classes = {name: {"color": [228, 26 + 30 * i, 28], "codes": [i + 1]} for i, name in enumerate(fake.classes)}
    config: dict[str, Any] = {
        "seed": fake.seed,
        "name": "sweep",
        "output_folder": "outputs",
        "model": {"_target_": f"unet_exp.model.{fake.model}.Net", "base_channels": 16},
        "data": {
            "_target_": fake.target,
            "root": "data/bcss",
            "mpp": 0.5,
            "patch_size": 256,
            "classes": background | classes,
            "mean": [0.7, 0.55, 0.69],
            "std": [0.18, 0.2, 0.16],
        },
        "loss": {"_target_": "unet_exp.loss.dice_ce.DiceCELoss"},
        "optim": {"_target_": "torch.optim.AdamW", "lr": 0.002},
        "augmentation": {"transforms": [{"_target_": "albumentations.ColorJitter", "p": 0.8}]},
        "loader": {"batch_size": 16, "num_workers": 2},
    }
    if fake.fold is not None:
        how = {"scheme": "kfold", "group": "patient", "stratify": True, "seed": fake.split_seed}
        config["data"]["split"] = {**how, "folds": fake.folds, "fold": fake.fold}
    for key, value in fake.config.items():
        block, _, name = key.rpartition(".")
        (config[block] if block else config)[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _write_history(file: Path, fake: FakeRun) -> None:
    rows = []
    for epoch in range(fake.epochs):
        progress = 1 - np.exp(-(epoch + 1) / 2)
        row: dict[str, Any] = {"epoch": epoch, "seconds": 60.0, "train/loss": 2 - 1.6 * progress}
        for part, gap in (("train", 0.0), ("val", 0.03)):
            row |= {f"{part}/dice": fake.quality * progress - gap, f"{part}/accuracy": 0.9 * progress - gap}
        rows.append(row | {"val/loss": 2.1 - 1.5 * progress})
    _write_csv(file, rows)


def _write_cases(folder: Path, part: str, rows: Sequence[Mapping[str, Any]], *, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    own = sorted((row for row in rows if row["part"] == part), key=lambda row: -row["dice"])
    known = json.loads((folder / "cases.json").read_text()) if (folder / "cases.json").is_file() else []
    for label, row in zip(("best", "median", "worst"), (own[0], own[len(own) // 2], own[-1]), strict=True):
        files = {view: f"{part}-{label}-{row['image']}.{view}.jpg" for view in VIEWS}
        for number, name in enumerate(files.values()):
            tint = np.full((48, 64, 3), 60 + 40 * number, np.uint8)
            tint[8:40, 8 + 4 * seed % 20 : 40, number % 3] = 230
            Image.fromarray(tint).save(folder / name)
        known.append({"part": part, "label": label, "id": row["image"], "dice": row["dice"], "files": files})
    _dump(folder / "cases.json", known)


def _dump(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1))


def _write_csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
