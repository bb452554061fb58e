"""The rules of RFC 7946 and of QuPath's annotations, and a rasteriser that shares nothing with the one in the code."""

import json
import uuid

import numpy as np
from matplotlib.path import Path as Outline


def read_valid(path):
    """The features of a file that keeps all the rules."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content.keys() == {"type", "features"}
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        check_feature(feature)
    identities = [feature["id"] for feature in content["features"]]
    assert len(set(identities)) == len(identities)
    return content["features"]


def check_feature(feature):
    assert feature["type"] == "Feature"
    assert uuid.UUID(feature["id"]).version == 5
    properties = feature["properties"]
    assert properties["objectType"] == "annotation"
    assert properties["isLocked"] is False
    assert properties["classification"].keys() == {"name", "color"}
    assert all(type(value) is int and 0 <= value <= 255 for value in properties["classification"]["color"])
    assert feature["geometry"]["type"] == "Polygon"
    outer, *holes = [np.asarray(ring, float) for ring in feature["geometry"]["coordinates"]]
    check_ring(outer)
    assert signed_area(outer) > 0
    for hole in holes:
        check_ring(hole)
        assert signed_area(hole) < 0
        assert (hole.min(0) >= outer.min(0)).all()
        assert (hole.max(0) <= outer.max(0)).all()
    assert signed_area(outer) + sum(map(signed_area, holes)) > 0


def check_ring(ring):
    assert ring.ndim == 2
    assert ring.shape[1] == 2
    assert len(ring) >= 4
    assert (ring[0] == ring[-1]).all()
    assert (ring[1:] != ring[:-1]).any(1).all()
    assert len(np.unique(ring[:-1], axis=0)) == len(ring) - 1
    if len(ring) < 600:
        assert not crossings(ring)


def signed_area(ring):
    """By the shoelace formula: positive if counterclockwise with x to the right and y upwards."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


def crossings(ring):
    """How many pairs of segments cross in their interiors."""
    start, end = ring[:-1], ring[1:]

    def side(a, b, c):
        return np.sign(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    a, b, c, d = start[:, None], end[:, None], start[None], end[None]
    return int(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum() // 2)


def draw(features, shape, names, scale=(1.0, 1.0)):
    """Class ids (H, W) of the pixels whose centres lie in a polygon; no pixel may lie in two."""
    ids = np.zeros(shape, np.uint8)
    for feature in features:
        top, left, inside = _inside(feature["geometry"]["coordinates"], shape, scale)
        window = ids[top : top + inside.shape[0], left : left + inside.shape[1]]
        assert not (window[inside] != 0).any()
        window[inside] = names.index(feature["properties"]["classification"]["name"])
    return ids


def _inside(rings, shape, scale):
    rings = [np.asarray(ring, float) / (scale[1], scale[0]) for ring in rings]
    left, top = np.floor(rings[0].min(0) + 1e-6).astype(int)
    right, bottom = np.minimum(np.ceil(rings[0].max(0) - 1e-6).astype(int), (shape[1], shape[0]))
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    # Centres that lie on a slanted edge belong to one side of it only.
    centres = np.stack([columns.ravel() + 1e-5, rows.ravel() + 2e-5], 1)
    inside = np.zeros(len(centres), bool)
    for ring in rings:
        inside ^= Outline(ring, closed=True).contains_points(centres)
    return top, left, inside.reshape(rows.shape)


def overlap(one, other, index):
    """Intersection over union of a class."""
    union = ((one == index) | (other == index)).sum()
    return ((one == index) & (other == index)).sum() / union if union else 1.0
