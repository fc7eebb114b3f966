"""Draw a synthetic chest image.

Image densities add up along the beam, so the drawing adds the thickness of what the
beam meets (soft tissue, air, bone) and exposes the image at the end.
"""

from dataclasses import dataclass

import cv2
import numpy as np

BITS = 12
MARK = "SYNTHETIC"
_WHITE = (1 << BITS) - 1
# The grid that everything is drawn on; the image is made from it at the size wanted.
_GRID = 1024


@dataclass(frozen=True)
class Anatomy:
    """What varies between phantoms, as shares of the image's side."""

    lung_top: float
    lung_bottom: float
    lung_width: float
    heart_width: float
    rib_slope: float
    tilt: float
    opacities: tuple[tuple[float, float, float, float], ...]


def draw_chest(
    seed: int, *, size: int = 1024, opacity: bool | None = None
) -> np.ndarray:
    """Draw a PA chest image.

    Args:
        seed: The same seed gives the same image.
        size: Pixels of a side.
        opacity: Whether a lung holds an opacity; None leaves it to the seed.

    Returns:
        uint16 (size, size), 12 bit: 0 black (air), 4095 white (bone).
    """
    random = np.random.default_rng(seed)
    anatomy = _anatomy(random, opacity)
    tissue = _body(anatomy) + _bones(anatomy) + _organs(anatomy)
    lungs = _lungs(anatomy)
    tissue -= lungs * (0.86 + 0.05 * _texture(random, 60))
    tissue += lungs * _vessels(anatomy, random)
    tissue += lungs * _opacities(anatomy, random)
    tissue += 0.05 * _texture(random, 110) * (tissue > 0.15)
    image = _expose(tissue, random)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    image += random.normal(0.0, 0.011, image.shape).astype(np.float32)
    return _marked(np.clip(image, 0.0, 1.0))


def _anatomy(random: np.random.Generator, opacity: bool | None) -> Anatomy:
    def around(value: float, spread: float) -> float:
        return float(value + random.uniform(-spread, spread))

    anatomy = {
        "lung_top": around(0.155, 0.015),
        "lung_bottom": around(0.745, 0.03),
        "lung_width": around(0.205, 0.015),
        "heart_width": around(1.0, 0.12),
        "rib_slope": around(0.42, 0.06),
        "tilt": around(0.0, 1.5),
    }
    wanted = random.random() < 0.4
    count = int(random.integers(1, 3))
    places = tuple(
        (
            float(random.choice([0.30, 0.70])) + around(0.0, 0.05),
            around(0.5, 0.15),
            around(0.055, 0.02),
            around(0.55, 0.12),
        )
        for _ in range(count)
    )
    shown = wanted if opacity is None else opacity
    return Anatomy(**anatomy, opacities=places if shown else ())


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every point of the grid, 0 … 1."""
    y, x = np.mgrid[0:_GRID, 0:_GRID].astype(np.float32) / _GRID
    return x, y


def _soft(mask: np.ndarray, edge: float) -> np.ndarray:
    """Blur the edge of a shape; `edge` in grid points."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), edge)


def _polygon(points: list[tuple[float, float]], edge: float) -> np.ndarray:
    canvas = np.zeros((_GRID, _GRID), np.uint8)
    cv2.fillPoly(canvas, [(np.array(points) * _GRID).astype(np.int32)], 255)
    return _soft(canvas / 255.0, edge)


def _smooth(points: list[tuple[float, float]], steps: int = 16) -> list:
    """Run a closed Catmull-Rom curve through the points."""
    given, curve = np.array(points), []
    for i in range(len(given)):
        a, b, c, d = (given[(i + j - 1) % len(given)] for j in range(4))
        for t in np.linspace(0, 1, steps, endpoint=False):
            curve.append(
                0.5
                * (
                    2 * b
                    + (c - a) * t
                    + (2 * a - 5 * b + 4 * c - d) * t**2
                    + (3 * b - a - 3 * c + d) * t**3
                )
            )
    return [tuple(point) for point in curve]


def _body(anatomy: Anatomy) -> np.ndarray:
    """Soft tissue: trunk, neck, shoulders, arms; thicker towards the belly."""
    outline = [(0.40, -0.05), (0.395, 0.045), (0.33, 0.085), (0.17, 0.115)]
    outline += [(0.04, 0.20), (0.0, 0.33), (0.055, 0.42), (0.075, 0.70), (0.07, 1.05)]
    mirrored = [(1 - x, y) for x, y in reversed(outline)]
    trunk = _polygon(_smooth(outline + mirrored), 7)
    x, y = _grid()
    round_trip = np.sqrt(np.clip(1 - ((x - 0.5) / 0.52) ** 2, 0, 1))
    belly = 1 / (1 + np.exp(-(y - anatomy.lung_bottom - 0.02) * 28))
    return trunk * (0.78 + 0.42 * round_trip + 0.28 * belly)


def _lung(anatomy: Anatomy, *, left: bool) -> np.ndarray:
    """One lung field; the image's right side is the patient's left."""
    top, bottom, width = anatomy.lung_top, anatomy.lung_bottom, anatomy.lung_width
    low = bottom + (0.035 if left else 0.0)
    inner, outer = 0.44, 0.455 - width * 1.55
    points = [(0.385, top), (0.435, top + 0.09), (inner, top + 0.24)]
    points += [(0.43, low - 0.19), (0.405, low - 0.055), (0.30, low - 0.075)]
    points += [(0.19, low - 0.02), (outer + 0.005, low + 0.055)]
    points += [(outer, low - 0.16), (outer + 0.03, top + 0.25), (0.235, top + 0.09)]
    points += [(0.30, top + 0.02)]
    if left:
        points = [(1 - x, y) for x, y in points]
    return _polygon(_smooth(points), 5)


def _lungs(anatomy: Anatomy) -> np.ndarray:
    """Air: both fields, less where heart and great vessels lie in front."""
    fields = np.maximum(_lung(anatomy, left=False), _lung(anatomy, left=True))
    return fields * (1 - 0.86 * _heart(anatomy))


def _heart(anatomy: Anatomy) -> np.ndarray:
    low, wide = anatomy.lung_bottom, anatomy.heart_width
    points = [(0.47, low - 0.40), (0.535, low - 0.415), (0.562, low - 0.37)]
    points += [(0.552, low - 0.315), (0.50 + 0.075 * wide, low - 0.27)]
    points += [(0.50 + 0.135 * wide, low - 0.16), (0.50 + 0.185 * wide, low - 0.045)]
    points += [(0.50 + 0.165 * wide, low + 0.02), (0.52, low + 0.045)]
    points += [(0.42, low + 0.015), (0.50 - 0.092 * wide, low - 0.08)]
    points += [(0.50 - 0.085 * wide, low - 0.17), (0.452, low - 0.26)]
    return _polygon(_smooth(points), 6)


def _organs(anatomy: Anatomy) -> np.ndarray:
    """Heart, mediastinum, hila, the stomach's air below the left diaphragm."""
    x, y = _grid()
    low = anatomy.lung_bottom
    middle = np.exp(-(((x - 0.5) / 0.055) ** 2)) * (y < low + 0.1)
    airway = np.exp(-(((x - 0.497) / 0.016) ** 2)) * (1 / (1 + np.exp((y - 0.33) * 60)))
    hila = sum(
        np.exp(-(((x - cx) / 0.035) ** 2 + ((y - low + 0.29) / 0.06) ** 2))
        for cx in (0.415, 0.59)
    )
    stomach = np.exp(-(((x - 0.665) / 0.055) ** 2 + ((y - low - 0.105) / 0.028) ** 2))
    return (
        0.36 * _heart(anatomy)
        + 0.30 * cv2.GaussianBlur(middle.astype(np.float32), (0, 0), 8)
        - 0.26 * airway
        + 0.20 * hila
        - 0.42 * stomach
    )


def _bones(anatomy: Anatomy) -> np.ndarray:
    bones = _ribs(anatomy) + _spine(anatomy) + _collar_bones() + _shoulder_blades()
    centre = (_GRID / 2, _GRID / 2)
    turned = cv2.getRotationMatrix2D(centre, anatomy.tilt, 1.0)
    return cv2.warpAffine(bones, turned, (_GRID, _GRID))


def _ribs(anatomy: Anatomy) -> np.ndarray:
    """Ten pairs: dense behind, round the side of the lung, then thin in front."""
    bones = np.zeros((_GRID, _GRID), np.float32)
    height = anatomy.lung_bottom - anatomy.lung_top
    for number in range(10):
        start = anatomy.lung_top - 0.03 + (height + 0.06) * number / 10.2
        fall = 0.030 + anatomy.rib_slope * (0.05 + 0.016 * number)
        side = (start + fall - anatomy.lung_top) / height
        reach = _half_width(anatomy, side) - 0.025
        back = np.linspace(0.0, np.pi / 2, 40)
        back_y = start + fall * (1 - np.cos(back)) - 0.02 * np.sin(2 * back)
        _add_rib(bones, 0.035 + reach * np.sin(back), back_y, width=0.020, weight=0.21)
        if number < 8:
            front = np.linspace(np.pi / 2, np.pi * 0.86, 40)
            forward = 0.10 + 0.012 * number
            front_y = start + fall - (fall + forward) * np.cos(front) * 0.9
            front_x = 0.035 + reach * np.sin(front)
            _add_rib(bones, front_x, front_y, width=0.022, weight=0.11)
    return bones


def _half_width(anatomy: Anatomy, height: float) -> float:
    """Return how far the rib cage reaches from the midline; 0 lung top, 1 bottom."""
    full = 0.045 + anatomy.lung_width * 1.55 + 0.012
    rise = max(0.0, 1.0 - max(0.0, height + 0.12))
    return full * float(np.sqrt(1 - 0.80 * rise**2.4))


def _add_rib(
    bones: np.ndarray, x: np.ndarray, y: np.ndarray, *, width: float, weight: float
) -> None:
    """Draw a rib on both sides: a band, denser along its two edges."""
    for side in (-1, 1):
        path = (np.stack([0.5 + side * x, y], axis=1) * _GRID * 16).astype(np.int32)
        layers = []
        for share in (1.0, 0.62):
            canvas = np.zeros((_GRID, _GRID), np.uint8)
            thickness = max(1, int(width * share * _GRID))
            cv2.polylines(canvas, [path], False, 255, thickness, cv2.LINE_AA, shift=4)
            layers.append(_soft(canvas / 255.0, 1.6))
        bones += weight * (layers[0] - 0.45 * layers[1])


def _spine(anatomy: Anatomy) -> np.ndarray:
    x, y = _grid()
    column = _soft(np.abs(x - 0.5) < 0.031, 4)
    discs = 0.5 + 0.5 * np.cos((y - anatomy.lung_top) * 2 * np.pi / 0.062)
    spines = np.exp(-(((x - 0.5) / 0.007) ** 2)) * (discs > 0.55)
    return column * (0.24 + 0.07 * discs) + 0.08 * _soft(spines, 2)


def _collar_bones() -> np.ndarray:
    bones = np.zeros((_GRID, _GRID), np.float32)
    t = np.linspace(0.0, 1.0, 50)
    x = 0.03 + 0.27 * t
    y = 0.195 - 0.055 * t + 0.016 * np.sin(2 * np.pi * t)
    _add_rib(bones, x, y, width=0.027, weight=0.27)
    return bones


def _shoulder_blades() -> np.ndarray:
    blade = [(0.135, 0.175), (0.215, 0.215), (0.205, 0.32), (0.165, 0.47)]
    blade += [(0.125, 0.35), (0.095, 0.235)]
    head = [(0.035, 0.165), (0.095, 0.15), (0.12, 0.20), (0.09, 0.255), (0.03, 0.25)]
    one = 0.13 * _polygon(_smooth(blade), 4) + 0.22 * _polygon(_smooth(head), 5)
    return one + one[:, ::-1]


def _texture(random: np.random.Generator, coarse: float) -> np.ndarray:
    """Smooth noise around 0; `coarse` is its grain in grid points."""
    cells = max(2, int(_GRID / coarse))
    noise = random.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
    return cv2.resize(noise, (_GRID, _GRID), interpolation=cv2.INTER_CUBIC)


def _vessels(anatomy: Anatomy, random: np.random.Generator) -> np.ndarray:
    """Branches that leave the hila and thin out, one layer a generation."""
    branches: list[_Branch] = []
    for side in (-1, 1):
        root = (0.5 + side * 0.085, anatomy.lung_bottom - 0.29)
        branches += [
            _Branch(root, float(angle + random.normal(0, 0.08)), side)
            for angle in np.linspace(-1.25, 1.35, 9)
        ]
    canvas, length, width = np.zeros((_GRID, _GRID), np.float32), 0.085, 7.0
    while width > 1.2:
        layer = np.zeros((_GRID, _GRID), np.uint8)
        for branch in branches:
            start, end = (
                tuple(round(v * _GRID) for v in point)
                for point in (branch.root, branch.end(length))
            )
            cv2.line(layer, start, end, 255, max(1, round(width)), cv2.LINE_AA)
        np.maximum(canvas, layer * (min(1.0, width / 6) / 255), out=canvas)
        branches = [
            _Branch(
                branch.end(length),
                branch.heading + turn + float(random.normal(0, 0.1)),
                branch.side,
            )
            for branch in branches
            for turn in (-0.32, 0.30)
        ]
        length, width = length * 0.8, width * 0.62
    return 0.22 * cv2.GaussianBlur(canvas, (0, 0), 1.8)


@dataclass(frozen=True)
class _Branch:
    """A straight piece of a vessel: its start and direction (0: outwards)."""

    root: tuple[float, float]
    heading: float
    side: int

    def end(self, length: float) -> tuple[float, float]:
        return (
            self.root[0] + self.side * length * float(np.cos(self.heading)),
            self.root[1] + length * float(np.sin(self.heading)),
        )


def _opacities(anatomy: Anatomy, random: np.random.Generator) -> np.ndarray:
    """Opacities in a lung, placed by the seed."""
    x, y = _grid()
    cloud = np.zeros((_GRID, _GRID), np.float32)
    for cx, cy, radius, density in anatomy.opacities:
        edge = 1 + 0.35 * _texture(random, 45)
        distance = ((x - cx) ** 2 + ((y - cy) * 0.9) ** 2) / (radius * edge) ** 2
        cloud += density * np.exp(-distance) * (1 + 0.25 * _texture(random, 18))
    return np.clip(cloud, 0, 1.0)


def _expose(tissue: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Turn thickness into image brightness 0 … 1: scatter, exposure, mottle."""
    scattered = 0.82 * tissue + 0.18 * cv2.GaussianBlur(tissue, (0, 0), 60)
    blurred = cv2.GaussianBlur(scattered, (0, 0), 1.2)
    bright = 1 / (1 + np.exp(-(blurred - 0.82) * 3.4))
    mottle = cv2.GaussianBlur(
        random.normal(0, 1, bright.shape).astype(np.float32), (0, 0), 1.1
    )
    return (0.02 + 0.94 * bright + 0.012 * mottle).astype(np.float32)


def _marked(image: np.ndarray) -> np.ndarray:
    """Burn in the side marker and, twice, the SYNTHETIC mark; return 12 bits."""
    size = image.shape[0]
    pixels = np.round(image * (_WHITE * 0.97)).astype(np.uint16)
    scale, thick = size / 1024, max(1, round(size / 450))
    places = [
        (MARK, (0.03, 0.055), 1.15),
        (f"{MARK} - NOT A PATIENT", (0.30, 0.975), 0.95),
        ("L", (0.915, 0.085), 1.7),
    ]
    for text, (x, y), height in places:
        letters = np.zeros(pixels.shape, np.uint8)
        cv2.putText(
            letters,
            text,
            (round(x * size), round(y * size)),
            cv2.FONT_HERSHEY_SIMPLEX,
            height * scale,
            255,
            thick,
            cv2.LINE_AA,
        )
        # A dark rim keeps them legible on bright ground.
        rim = cv2.dilate(letters, np.ones((4 * thick + 1, 4 * thick + 1), np.uint8))
        for colour, layer in ((0, rim), (_WHITE, letters)):
            ink = layer.astype(np.float32) / 255
            pixels = np.round(pixels * (1 - ink) + colour * ink).astype(np.uint16)
    return pixels
