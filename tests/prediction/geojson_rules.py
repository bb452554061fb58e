"""The rules of RFC 7946 and of QuPath's annotations, and a rasteriser that shares nothing with the one in the code."""

import json
import uuid

import numpy as np


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
    ids = np.zeros(shape, int)
    layers = np.zeros(shape, int)
    for index, name in enumerate(names):
        rings = [
            np.asarray(ring, float) / (scale[1], scale[0])
            for feature in features
            if feature["properties"]["classification"]["name"] == name
            for ring in feature["geometry"]["coordinates"]
        ]
        inside = winding_numbers(rings, shape)
        ids += index * inside
        layers += inside
    assert layers.min() >= 0
    assert layers.max() <= 1
    return ids


def winding_numbers(rings, shape):
    """How often rings go counterclockwise around the centre of each pixel (H, W), scan line by scan line."""
    steps = np.zeros((shape[0], shape[1] + 1), int)
    for ring in rings:
        (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
        # Lines through centres, shifted a little so that none meets a vertex.
        first = np.ceil(np.minimum(y, next_y) - 0.5 - 1e-5).astype(int)
        stop = np.ceil(np.maximum(y, next_y) - 0.5 - 1e-5).astype(int)
        edge = np.repeat(np.arange(len(x)), stop - first)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first) + first[edge]
        share = (row + 0.5 + 1e-5 - y[edge]) / (next_y - y)[edge]
        column = np.ceil(x[edge] + share * (next_x - x)[edge] - 0.5 - 2e-5).astype(int)
        np.add.at(steps, (row, np.clip(column, 0, shape[1])), np.where(next_y > y, -1, 1)[edge])
    return np.cumsum(steps, 1)[:, :-1]


def overlap(one, other, index):
    """Intersection over union of a class."""
    union = ((one == index) | (other == index)).sum()
    return ((one == index) & (other == index)).sum() / union if union else 1.0
