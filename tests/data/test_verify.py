"""Every kind of fault is put into real files and must be found, all at once; good data has none."""

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf
from PIL import Image

from tests import fake
from tests.conftest import REAL_DATA, REPOSITORY
from tests.data.test_examination import codes, picture
from unet_exp.config import compose_config
from unet_exp.data._collection import examine_collection
from unet_exp.data._finding import KINDS, Finding, refuse_faults
from unet_exp.data._verify import findings_table, write_findings
from unet_exp.errors import DataError


def make_source(name: str, root: Path, **changes):
    """The dataset of a yaml, as a user configures it."""
    settings = OmegaConf.to_container(compose_config("train", [f"data={name}"]).data, resolve=True)
    source_class = get_class(settings.pop("_target_"))
    return source_class(**{**settings, "root": str(root), **changes})


def found(name: str, root: Path, *, complete: bool = False, **changes) -> list[Finding]:
    """Findings; that the tiny ISIC sets are not complete only where it is asked for."""
    source = make_source(name, root, **changes)
    findings = examine_collection(source, root.parent / f"{root.name}-store", jobs=2).findings
    return [finding for finding in findings if complete or finding.kind != "incomplete_part"]


def named(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.kind, finding.file.name) for finding in findings}


def only(kind: str, findings: list[Finding]) -> Finding:
    assert [finding.kind for finding in findings] == [kind]
    return findings[0]


@pytest.mark.parametrize("name", ["bcss", "isic2016", "isic2017", "isic2018", "folder"])
def test_good_data_has_no_findings(tmp_path, name):
    assert found(name, fake.MAKERS[name](tmp_path / "data")) == []


def test_the_1_bit_masks_of_ph2_are_told_but_are_no_fault(tmp_path):
    findings = found("ph2", fake.ph2(tmp_path / "data"))
    assert {finding.kind for finding in findings} == {"few_bits_mask"}
    assert len(findings) == 4
    refuse_faults(findings, "data")


def break_folder(root: Path) -> set[tuple[str, str]]:
    """A folder dataset in which nearly everything is wrong; gives what must be found."""
    images, masks = root / "images", root / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    stripes, grey = Image.fromarray(codes()), picture(1).convert("L")
    expected: set[tuple[str, str]] = set()

    def add(name: str, image: Image.Image | None, mask: Image.Image | None, *kinds: str, **options) -> None:
        seed = len(list(images.iterdir())) + 100  # every image is another one
        image_type, mask_type = options.pop("types", ("png", "png"))
        (image or picture(seed)).save(images / f"{name}.{image_type}", **options)
        (mask or stripes).save(masks / f"{name}.{mask_type}")
        suffix = {"image": image_type, "mask": mask_type}
        expected.update((kind, f"{name}.{suffix[which]}") for kind, which in (k.split(":") for k in kinds))

    add("good", None, None)
    add("cut_png", None, None, "unreadable:image")
    add("cut_jpeg", None, None, "unreadable:image", types=("jpg", "png"))
    add("web_page", None, None, "unreadable:image")
    add("cut_mask", None, None, "unreadable:mask")
    add("no_end", None, None, "damaged:image")
    add("too_deep", Image.fromarray(np.asarray(grey).astype(np.uint16) * 200), None, "too_many_bits:image")
    add("colours", None, picture(2), "colour_mask:mask")
    add("fractions", None, stripes.convert("F"), "no_codes:mask", types=("png", "tif"))
    add("small", None, stripes.resize((20, 30), Image.Resampling.NEAREST), "size_mismatch:mask")
    add("unknown", None, Image.fromarray(codes((0, 255, 77))), "unknown_code:mask")
    add("nothing", None, Image.fromarray(codes((0,))), "empty_mask:mask")
    add("ignored", None, Image.fromarray(codes((9,))), "all_ignored:mask")
    palette = Image.fromarray(codes((0, 255)), mode="P")
    palette.putpalette([7, 8, 9] * 256)
    add("palette", picture(3).quantize(16), palette, "palette_image:image", "palette_mask:mask")
    add("grey", grey, None, "grey_image:image")
    transparent = picture(4)
    transparent.putalpha(9)
    add("clear", transparent, None, "alpha_dropped:image")
    add("print", picture(5).convert("CMYK"), None, "cmyk_image:image", types=("jpg", "png"))
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    turned = picture(6).transpose(Image.Transpose.ROTATE_90)
    add("turned", turned, None, "orientation_differs:image", types=("jpg", "png"), exif=on_its_side)
    add("both_turned", picture(7).transpose(Image.Transpose.ROTATE_90), None, "rotated_picture:image", exif=on_its_side)
    stripes.transpose(Image.Transpose.ROTATE_90).save(masks / "both_turned.png", exif=on_its_side)
    pages = {"save_all": True, "append_images": [picture(8)]}
    add("pages", picture(9), None, "several_pages:image", types=("tif", "png"), **pages)
    add("bits", None, stripes.convert("1"), "few_bits_mask:mask")
    add("sixteen", None, Image.fromarray(codes((0, 255), np.uint16)), "sixteen_bit_mask:mask")
    add("channels", None, stripes.convert("RGB"), "three_channel_mask:mask")
    add("lossy", None, Image.fromarray(codes((0,))), "lossy_mask:mask", "empty_mask:mask", types=("png", "jpg"))
    add("depth", None, None, "depth_cut:image")
    cv2.imwrite(str(images / "depth.png"), np.asarray(picture(10)).astype(np.uint16) * 257)
    add("first", picture(11), None)
    add("second", picture(11), None, "duplicate_image:image", types=("bmp", "png"))
    add("third", picture(12), None)
    add("wrong_mask", picture(12), Image.fromarray(codes((255, 0))), "conflicting_masks:image")
    add("lonely_mask", None, None, "missing_image:mask")
    (images / "lonely_mask.png").unlink()
    add("lonely_image", None, None, "missing_mask:image")
    (masks / "lonely_image.png").unlink()
    add("twice", picture(13), None)
    picture(14).save(images / "twice.tif")
    expected.add(("same_name", "twice.tif"))

    for name, keep in (("cut_png.png", 0.6), ("cut_jpeg.jpg", 0.6)):
        data = (images / name).read_bytes()
        (images / name).write_bytes(data[: int(keep * len(data))])
    (masks / "cut_mask.png").write_bytes((masks / "cut_mask.png").read_bytes()[:60])
    (images / "web_page.png").write_text("<html><body>Sign in to the hospital's network</body></html>")
    (images / "no_end.png").write_bytes((images / "no_end.png").read_bytes()[:-12])
    return expected


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> tuple[list[Finding], set[tuple[str, str]]]:
    root = tmp_path_factory.mktemp("broken") / "data"
    expected = break_folder(root)
    return found("folder", root, ignore_codes=[9], split={"scheme": "official"}), expected


def test_everything_is_found_at_once(broken):
    findings, expected = broken
    assert named(findings) == expected
    assert len(findings) == len(expected)


def test_faults_come_first(broken):
    severities = [finding.severity for finding in broken[0]]
    assert severities == sorted(severities)


def test_the_message_of_training_counts_the_faults_only(broken):
    faults = sum(KINDS[kind].severity == "fault" for kind, _ in broken[1])
    with pytest.raises(DataError, match=f"^{faults} faults in the files of data:"):
        refuse_faults(broken[0], "data")


def test_details_tell_what_was_seen(broken):
    details = {(finding.kind, finding.file.stem): finding.detail for finding in broken[0]}
    assert details["unknown_code", "unknown"] == "Codes: 0 (800 px), unknown 77 (800 px), 255 (800 px)."
    assert "30 x 20 px (height x width)" in details["size_mismatch", "small"]
    assert "small.png 40 x 60 x 3 px" in details["size_mismatch", "small"]
    assert details["unreadable", "web_page"] == "It is a web page, not a picture."
    assert "first.png" in details["duplicate_image", "second"]
    assert "third.png" in details["conflicting_masks", "wrong_mask"]
    assert "twice.png" in details["same_name", "twice"]


def test_what_verify_calls_good_can_be_read(broken, tmp_path):
    """And what it calls unreadable, too deep, of another size or unknown cannot: it judges as training does."""
    refused = {"unreadable", "too_many_bits", "colour_mask", "no_codes", "size_mismatch", "unknown_code"}
    root = tmp_path / "data"
    break_folder(root)
    source = make_source("folder", root, ignore_codes=[9])
    bad = {Path(file).stem for kind, file in broken[1] if kind in refused}
    for case in source.scan().cases:
        if case.id in bad:
            with pytest.raises(DataError):
                source.read_full(case)
        else:
            source.read_full(case)


def test_many_unknown_codes_are_summed_up(tmp_path):
    root = fake.folder(tmp_path / "data")
    Image.fromarray(np.arange(40 * 60).reshape(40, 60).astype(np.uint16)).save(root / "masks" / "0_mask.png")
    Image.fromarray(np.asarray(picture())).save(root / "images" / "0.jpg")
    detail = next(finding.detail for finding in found("folder", root) if finding.kind == "unknown_code")
    assert detail.count("unknown") == 24
    assert detail.endswith(f"and {40 * 60 - 24} more.")


def isic_with_copy(root: Path, *, mask_too: bool = True) -> tuple[str, str]:
    """A training image once more among the test images, as another file type would show it."""
    fake.isic(root, year=2017)
    source, target = root / "ISIC-2017_Training_Data", root / "ISIC-2017_Test_v2_Data"
    shutil.copy(source / "ISIC_0000001.jpg", target / "ISIC_0009999.jpg")
    masks = root / "ISIC-2017_Training_Part1_GroundTruth", root / "ISIC-2017_Test_v2_Part1_GroundTruth"
    values = np.asarray(Image.open(masks[0] / "ISIC_0000001_segmentation.png")).copy()
    values[0, 0] = values[0, 0] if mask_too else 255
    Image.fromarray(values).save(masks[1] / "ISIC_0009999_segmentation.png")
    return "ISIC_0000001.jpg", "ISIC_0009999.jpg"


def test_one_image_in_two_parts_is_a_fault_that_names_both(tmp_path):
    first, second = isic_with_copy(tmp_path / "data")
    finding = only("duplicate_across_parts", found("isic2017", tmp_path / "data"))
    assert finding.severity == "fault"
    assert finding.file.name == second
    assert first in finding.detail
    assert "(train)" in finding.detail
    assert "in part test" in finding.detail


def test_one_image_in_two_parts_with_two_masks_is_two_faults(tmp_path):
    isic_with_copy(tmp_path / "data", mask_too=False)
    kinds = [finding.kind for finding in found("isic2017", tmp_path / "data")]
    assert kinds == ["conflicting_masks", "duplicate_across_parts"]


def test_one_image_in_a_part_that_the_split_does_not_use_is_no_leak(tmp_path):
    isic_with_copy(tmp_path / "data")
    split = {"scheme": "holdout", "test_fraction": 0.2, "validation_fraction": 0.2}
    finding = only("duplicate_image", found("isic2017", tmp_path / "data", split=split))
    assert "in part unused" in finding.detail


def test_every_kind_is_found_by_a_test(broken):
    """A new kind needs a test with a file that has it."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "data").rglob("*.py"))
    rest = set(KINDS) - {kind for kind, _ in broken[1]}
    assert {kind for kind in rest if f'"{kind}"' not in tests} == set()


def test_findings_are_written_as_a_table(broken, tmp_path):
    findings, _ = broken
    odd = Finding(kind="unreadable", file=Path('a, "b"\n.png'), detail="Bröken; 100 %, really.")
    write_findings([*findings, odd], tmp_path / "reports" / "findings.csv")
    with (tmp_path / "reports" / "findings.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["file"], row["detail"]) for row in rows] == [
        (finding.kind, str(finding.file), finding.detail) for finding in (*findings, odd)
    ]
    assert all(row["severity"] == KINDS[row["kind"]].severity for row in rows)
    assert all(row["remedy"] == KINDS[row["kind"]].remedy for row in rows)


def test_the_terminal_shows_a_few_of_each_kind_and_where_all_are():
    findings = [Finding(kind="few_bits_mask", file=Path(f"m{i}.png"), detail="1.") for i in range(30)]
    findings += [Finding(kind="size_mismatch", file=Path(f"{'long' * i}.png"), detail="2.") for i in range(1, 3)]
    text = findings_table(findings, Path("verify/findings.csv"), lines_per_kind=3)
    assert text.startswith("2 faults, 30 warnings\n")
    assert text.index("FAULT size_mismatch") < text.index("WARNING few_bits_mask")
    assert Counter(re.findall(r"^  (?:m\d+|\w+)\.png", text, re.MULTILINE)).total() == 5
    assert "... and 27 more; all are in verify/findings.csv" in text
    assert len({line.index("2.") for line in text.splitlines() if line.endswith("2.")}) == 1
    assert KINDS["size_mismatch"].remedy in text


def test_no_findings_are_said_too():
    assert findings_table([]) == "0 faults, 0 warnings"


def test_the_documentation_lists_every_kind():
    text = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(name, kind.severity, kind.meaning, kind.remedy) for name, kind in KINDS.items()]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("bcss", "bcss"), pytest.param("isic2017", "isic2017", marks=pytest.mark.slow), ("isic2017", "isic2017_native")],
)
def test_real_data_has_no_faults(tmp_path, name, folder):
    if not (REAL_DATA / folder).is_dir():
        pytest.skip("the shared real data are not here")
    source = make_source(name, REAL_DATA / folder)
    findings = examine_collection(source, tmp_path, jobs=4).findings
    # Three official validation images that were put into the training folder.
    expected = ["other_part"] * 3 + ["incomplete_part"] if folder == "isic2017_native" else []
    assert sorted(finding.kind for finding in findings) == sorted(expected)
