"""Downloading BCSS from an imitation of its two servers."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REAL_DATA
from tests.data.download import fakes
from tests.data.download import server as faults
from tests.data.download.conftest import encoded, png
from unet_exp.data._download._bcss_regions import read_regions
from unet_exp.data._download.bcss import download_bcss
from unet_exp.errors import DataError

FIRST, SECOND, THIRD = (patient for patient, _, _ in fakes.REGIONS)


@pytest.fixture
def bcss(server):
    return fakes.bcss(server)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def download_fails(bcss, tmp_path, settings, **changes) -> str:
    with pytest.raises(DataError) as caught:
        download_bcss(tmp_path, settings, **{**bcss.arguments, **changes})
    return str(caught.value)


def test_images_and_masks_arrive_under_their_official_names_at_one_size(bcss, settings, tmp_path):
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert fakes.files(tmp_path / "images") == fakes.files(tmp_path / "masks") == set(bcss.names.values())
    for patient, width, height in fakes.REGIONS:
        image = pixels(tmp_path / "images" / bcss.names[patient])
        mask = pixels(tmp_path / "masks" / bcss.names[patient])
        assert image.shape[1::-1] == fakes.region_size(width, height, 0.00025)
        assert mask.shape == image.shape[:2]
        # Independent nearest neighbour: the source pixel whose area holds the centre of the target pixel.
        codes = bcss.masks[patient]
        rows, columns = (
            ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(mask.shape, codes.shape, strict=True)
        )
        np.testing.assert_array_equal(mask, codes[np.ix_(rows, columns)])
    assert not (tmp_path / ".download").exists()


def test_the_wanted_scale_is_sent_exactly(bcss, settings, tmp_path):
    download_bcss(tmp_path, settings, **bcss.arguments)
    query = bcss.server.requests_for(f"/api/v1/item/id{FIRST[-4:]}/tiles/region")[0].query
    assert {float(query["mm_x"]), float(query["mm_y"])} == {0.00025}
    assert [int(query[k]) for k in ("left", "top", "right", "bottom")] == [100, 50, 500, 350]


def test_a_second_call_makes_no_request(bcss, settings, tmp_path):
    download_bcss(tmp_path, settings, **bcss.arguments)
    bcss.server.requests.clear()
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert bcss.server.requests == []


def test_a_table_that_is_already_there_is_used(bcss, settings, tmp_path):
    (tmp_path / "meta").mkdir()
    lines = bcss.server.resources["/roiBounds.csv"].body.splitlines()
    (tmp_path / "meta/roiBounds.csv").write_bytes(b"\n".join(lines[:2]))
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert fakes.files(tmp_path / "images") == {bcss.names[FIRST]}


def test_one_failing_region_does_not_keep_the_others_and_the_next_call_completes(bcss, settings, tmp_path):
    bcss.region(SECOND).faults = [faults.status(500) for _ in range(settings.attempts)]
    message = download_fails(bcss, tmp_path, settings)
    assert message.startswith("1 of 6 files")
    assert f"{bcss.names[SECOND]}: the server answered 500" in message
    assert fakes.files(tmp_path / "masks") == {bcss.names[FIRST], bcss.names[THIRD]}
    bcss.server.requests.clear()
    download_bcss(tmp_path, settings, **bcss.arguments)
    key = f"id{SECOND[-4:]}"
    assert [r.path for r in bcss.server.requests] == ["/api/v1/item", f"/api/v1/item/{key}/tiles/region"]
    assert fakes.files(tmp_path / "masks") == set(bcss.names.values())


def test_a_slide_that_the_server_lacks_is_reported_by_name(bcss, settings, tmp_path):
    listing = bcss.server.resources["/api/v1/item"]
    listing.body = json.dumps([item for item in json.loads(listing.body) if SECOND not in item["name"]]).encode()
    assert f"no slide {SECOND}-...-DX1" in download_fails(bcss, tmp_path, settings)
    assert fakes.files(tmp_path / "images") == {bcss.names[FIRST], bcss.names[THIRD]}


def test_another_slide_of_the_same_patient_is_not_taken(bcss, settings, tmp_path):
    listing = bcss.server.resources["/api/v1/item"]
    listing.body = listing.body.replace(f"{SECOND}-01Z-00-DX1".encode(), f"{SECOND}-01Z-00-DX2".encode())
    assert "only TCGA-OL-A66P-01Z-00-DX2" in download_fails(bcss, tmp_path, settings)
    assert bcss.names[SECOND] not in fakes.files(tmp_path / "images")


@pytest.mark.parametrize("mm", [0.0003, 0.0002, fakes.BASE_MPP / 1000 / 1.02], ids=["0.30", "0.20", "2 % off"])
def test_a_silently_wrong_scale_is_refused(bcss, settings, tmp_path, mm):
    bcss.region(FIRST).body = png(*fakes.region_size(400, 300, mm))
    message = download_fails(bcss, tmp_path, settings)
    assert f"{bcss.names[FIRST]}: the image is" in message
    assert "403x302 px are expected" in message
    assert bcss.names[FIRST] not in fakes.files(tmp_path / "images")


def test_a_slide_of_unknown_resolution_is_refused(bcss, settings, tmp_path):
    bcss.server.add(f"/api/v1/item/id{FIRST[-4:]}/tiles", b'{"sizeX": 2000, "sizeY": 2000, "mm_x": null}')
    assert "does not know the slide's resolution" in download_fails(bcss, tmp_path, settings)


def test_a_region_outside_its_slide_is_refused(bcss, settings, tmp_path):
    bcss.server.add(f"/api/v1/item/id{FIRST[-4:]}/tiles", b'{"sizeX": 450, "sizeY": 2000, "mm_x": 0.00025}')
    assert "the region ends at 500, 350 but the slide has 450x2000 px" in download_fails(bcss, tmp_path, settings)


def test_a_mask_of_another_shape_is_refused(bcss, settings, tmp_path):
    bcss.server.resources["/s3/0"].body = encoded(np.zeros((410, 300), np.uint8))
    assert "not the shape of the region (400x300)" in download_fails(bcss, tmp_path, settings)
    assert bcss.names[FIRST] not in fakes.files(tmp_path / "masks")


def test_masks_of_a_public_release_at_another_scale_are_brought_to_the_image(bcss, settings, tmp_path):
    bcss.server.resources["/s3/0"].body = encoded(np.full((252, 336), 7, np.uint8))
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert pixels(tmp_path / "masks" / bcss.names[FIRST]).shape == (302, 403)


@pytest.mark.parametrize("fault", [faults.web_page, faults.status(200), faults.status(403)])
def test_a_listing_that_is_none_names_the_other_source(bcss, settings, tmp_path, fault):
    bcss.server.resources["/api/v1/item"].faults = [fault] * 9
    message = download_fails(bcss, tmp_path, settings)
    assert "drive.google.com/drive/folders/1zqbdkQF8i5cEmZOGmbdQm-EP8dRYtvss" in message
    assert str(tmp_path) in message


def test_a_listing_cannot_choose_where_files_are_written(bcss, settings, tmp_path):
    listing = bcss.server.resources["/api/v1/item"]
    listing.body = listing.body.replace(f'"id{FIRST[-4:]}"'.encode(), b'"../../evil"')
    assert "the server's answer is not understood (0._id" in download_fails(bcss, tmp_path, settings)


def test_a_damaged_image_of_the_user_is_named(bcss, settings, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / bcss.names[FIRST]).write_bytes(b"no image")
    assert f"its image {tmp_path / 'images' / bcss.names[FIRST]} cannot be read" in download_fails(
        bcss, tmp_path, settings
    )


def test_a_server_that_is_down_names_the_other_source(bcss, settings, tmp_path):
    message = download_fails(bcss, tmp_path, settings, girder_url="http://127.0.0.2:9/api/v1")
    assert "127.0.0.2 cannot be reached" in message
    assert "drive.google.com" in message


def test_a_key_is_exchanged_for_a_token_that_goes_with_every_request(bcss, settings, tmp_path):
    download_bcss(tmp_path, settings, **bcss.arguments, girder_api_key="right-key")
    to_girder = [r for r in bcss.server.requests if r.path.startswith("/api/v1/item")]
    elsewhere = [r for r in bcss.server.requests if r.path.startswith(("/files", "/s3", "/roi"))]
    assert {r.headers.get("girder-token") for r in to_girder} == {"secret-token"}
    assert not any("girder-token" in r.headers for r in elsewhere)


def test_a_wrong_key_is_explained_and_not_repeated(bcss, settings, tmp_path):
    message = download_fails(bcss, tmp_path, settings, girder_api_key="wrong-key")
    assert "refused the API key (status 400)" in message
    assert "wrong-key" not in message


def test_two_resolutions_do_not_mix_in_one_folder(bcss, settings, tmp_path):
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert "another resolution" in download_fails(bcss, tmp_path, settings, mpp=0.5)


@pytest.mark.parametrize("inner", ["", "0_Public-data-Amgad2019_0.25MPP"])
def test_the_release_of_the_authors_counts_as_complete(bcss, settings, tmp_path, inner):
    for folder in ("rgbs_colorNormalized", "masks"):
        (tmp_path / inner / folder).mkdir(parents=True)
        for name in bcss.names.values():
            (tmp_path / inner / folder / name).write_bytes(b"")
    message = download_fails(bcss, tmp_path, settings)  # without a table 151 regions are expected
    assert "Drive release" in message
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/roiBounds.csv").write_bytes(bcss.server.resources["/roiBounds.csv"].body)
    bcss.server.requests.clear()
    download_bcss(tmp_path, settings, **bcss.arguments)
    assert bcss.server.requests == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "no column xmin"),
        (",xmin,ymin,xmax,ymax,mask_link\n", "no rows"),
        (",xmin,ymin,xmax,ymax,mask_link\nTCGA-A1-A0SK-DX1,5,5,x,9,http://a/b\n", "line 2"),
        (",xmin,ymin,xmax,ymax,mask_link\nTCGA-A1-A0SK-DX1,5,5,4,9,http://a/b\n", "line 2"),
        (",xmin,ymin,xmax,ymax,mask_link\n../../evil,1,2,3,4,http://a/b\n", "line 2"),
        (",xmin,ymin,xmax,ymax,mask_link\nTCGA-A1-A0SK-DX1,1,2,3,4\n", "line 2"),
    ],
)
def test_a_wrong_table_is_explained_by_line(tmp_path, table, problem):
    path = tmp_path / "roiBounds.csv"
    path.write_text(table)
    with pytest.raises(DataError, match=problem) as caught:
        read_regions(path)
    assert str(path) in str(caught.value)


def test_a_mask_address_that_is_none_is_refused(bcss, settings, tmp_path):
    table = bcss.server.resources["/roiBounds.csv"]
    table.body = table.body.replace(f"{bcss.server.url}/files/0".encode(), b"file:///etc/passwd")
    assert "file:///etc/passwd" in download_fails(bcss, tmp_path, settings)


@pytest.mark.skipif(not (REAL_DATA / "bcss").is_dir(), reason="needs the shared real data")
def test_the_official_table_gives_the_official_names():
    regions = read_regions(REAL_DATA / "bcss/meta/roiBounds.csv")
    assert len(regions) == len({region.patient for region in regions}) == 151
    names = {region.file_name(0.25) for region in regions}
    official = {path.name for path in (REAL_DATA / "bcss/masks_without_rgb").glob("*.png")}
    assert official
    assert official <= names
