"""Pictures of masks on images, the same for pages, client and demo: outlines only, never colour over anatomy.

Images are grey, or photographs in red, green and blue, which are shown as they are, without a grey window.

Everything is drawn with Pillow. No picture holds a patient's name, identifier or date; each says that it is for
research use only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from contracts.tasks import LABELS, Task

Images = NDArray[np.generic]
Masks = NDArray[np.uint8]

RESEARCH = "Research use only"
BACKGROUND = (13, 17, 23)
TEXT = (226, 232, 240)
FAINT = (148, 160, 176)
MARK = (250, 204, 21)

MARGIN = 0.22
"""How far a crop reaches beyond the structures, in units of their longer side."""

ALONE = 3
"""How many times larger the only tile of a sheet is."""

_GAP = 4
_HEAD = 84
_SIDE = 58


@dataclass(frozen=True)
class _View:
    """What the tiles of a picture share: the square cut out (left, top, right, bottom in pixels), the grey window."""

    box: tuple[float, float, float, float]
    low: float
    high: float


def overlay_sheet(
    images: Images,
    labels: Masks,
    task: Task,
    *,
    phases: Sequence[int] | None = None,
    max_phases: int = 8,
    max_slices: int = 16,
    side: int = 148,
    marked: Mapping[str, object] | None = None,
) -> Image.Image:
    """Return a sheet, rows = slices and columns = phases, with the outlines of the structures.

    ``labels`` uint8 [phase, slice, row, column]; ``images`` of the same shape, any real dtype, or photographs uint8
    [phase, slice, row, column, 3], of which the phases are frames. ``phases`` (from 0) are the
    columns, by default ``max_phases`` spread over the cycle. ``marked`` maps a short text, such as "ED", to the phase
    (from 1) whose column carries it; these phases are always shown. With one phase the slices fill several columns.
    ``side`` of a tile in pixels. Tiles are cut to the surroundings of what is labelled anywhere.
    """
    marks = {phase - 1: name for name, phase in (marked or {}).items() if isinstance(phase, int)}
    shown = _phases(images.shape[0], phases, max_phases, marks)
    slices = _spread(images.shape[1], max_slices)
    single = len(shown) == 1
    across = min(max_phases, len(slices)) if single else len(shown)
    cells = [(phase, index) for index in slices for phase in shown]
    side *= ALONE if len(cells) == 1 else 1
    view = _view(images, labels)
    down = -(-len(cells) // across)
    size = (max(_SIDE + across * (side + _GAP) + _GAP, 440), _HEAD + down * (side + _GAP) + _GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _legend(pen, task, size[0], f"{task}: {_told(images, labels)}")
    phase_word = "frame" if _in_colour(images, labels) else "phase"
    for number, (phase, index) in enumerate(cells):
        left = _SIDE + number % across * (side + _GAP)
        top = _HEAD + number // across * (side + _GAP)
        sheet.paste(_tile(images[phase, index], labels[phase, index], task, view, side), (left, top))
        if single and len(slices) > 1:
            pen.text((left + side / 2, top + 14), f"slice {index + 1}", FAINT, _font(12), anchor="ms")
        elif not single and number < across:
            words = f"{phase_word} {phase + 1}" + (f" · {marks[phase]}" if phase in marks else "")
            pen.text((left + side / 2, _HEAD - 6), words, MARK if phase in marks else FAINT, _font(12), anchor="ms")
        if not single and len(slices) > 1 and number % across == 0:
            pen.text((8, top + side / 2), f"slice {index + 1}", FAINT, _font(12), anchor="lm")
    return sheet


def tile(images: Images, labels: Masks, task: Task, phase: int, slice_: int, *, side: int = 512) -> Image.Image:
    """Return one whole slice with its outlines; ``phase`` and ``slice_`` count from 0, ``side`` is its longer side.

    Arguments as for :func:`overlay_sheet`. The grey window is that slice's own.
    """
    image, mask = images[phase, slice_], labels[phase, slice_]
    rows, columns = mask.shape
    view = _View((0, 0, columns, rows), *_window(image, mask))
    picture = _tile(image, mask, task, view, side, keep_shape=True)
    pen = ImageDraw.Draw(picture)
    pen.text((8, picture.height - 6), RESEARCH, TEXT, _font(13), anchor="ls", stroke_width=2, stroke_fill=BACKGROUND)
    return picture


def thumbnail(images: Images, labels: Masks, task: Task, *, side: int = 160) -> Image.Image:
    """Return a small square picture of the slice and phase that show most of the structures."""
    sizes = np.count_nonzero(labels, axis=(2, 3))
    phase, index = np.unravel_index(int(sizes.argmax()), sizes.shape)
    if not sizes.any():
        index = np.intp(images.shape[1] // 2)
    picture = _tile(images[phase, index], labels[phase, index], task, _view(images, labels), side)
    pen = ImageDraw.Draw(picture)
    pen.text((4, side - 3), RESEARCH, TEXT, _font(10), anchor="ls", stroke_width=1, stroke_fill=BACKGROUND)
    return picture


def _tile(image: Images, mask: Masks, task: Task, view: _View, side: int, *, keep_shape: bool = False) -> Image.Image:
    """Return the part of a slice that ``view`` names, enlarged, with outlines about as thin as the picture allows."""
    left, top, right, bottom = view.box
    scale = side / max(right - left, bottom - top)
    size = (round((right - left) * scale), round((bottom - top) * scale)) if keep_shape else (side, side)
    shown = Image.fromarray(image.astype(np.uint8) if _in_colour(image, mask) else _brightened(image, view))
    picture = _cut(shown, view.box, size, Image.Resampling.BICUBIC).convert("RGB")
    masks = [_fill(mask == label.value, view.box, size, scale) for label in LABELS[task]]
    for number, label in enumerate(LABELS[task]):
        line = _outline(masks[number], masks[number + 1 :])
        if _in_colour(image, mask):  # skin has much the colour of any line; a dark one around it shows where it runs
            picture.paste(BACKGROUND, (0, 0), _outline(ImageChops.add(masks[number], line), ()))
        picture.paste(label.rgb, (0, 0), line)
    return picture


def _in_colour(images: Images, labels: Masks) -> bool:
    """Whether images have an axis of colours that their labels do not have."""
    return images.ndim > labels.ndim


def _brightened(image: Images, view: _View) -> NDArray[np.uint8]:
    """Return grey values as they are shown, 0 to 255."""
    grey = np.clip((image.astype(np.float32) - view.low) / (view.high - view.low), 0, 1) ** 0.8
    bright: NDArray[np.uint8] = (grey * 255).astype(np.uint8)
    return bright


def _fill(
    mask: NDArray[np.bool_], box: tuple[float, float, float, float], size: tuple[int, int], scale: float
) -> Image.Image:
    """Return a mask as a picture of 0 and 255, enlarged and with the steps of its pixels rounded off."""
    filled = _cut(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))), box, size, Image.Resampling.BILINEAR)
    return filled.filter(ImageFilter.GaussianBlur(0.4 * scale)).point(lambda value: 255 if value > 127 else 0)


def _outline(filled: Image.Image, inner: Sequence[Image.Image]) -> Image.Image:
    """Return the line around a mask, just outside of it; where it borders on an ``inner`` one, that one draws it."""
    edge = ImageChops.subtract(filled.filter(ImageFilter.MaxFilter(3)), filled)
    for other in inner:
        edge = ImageChops.subtract(edge, other)
    return edge


def _cut(
    image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int], how: Image.Resampling
) -> Image.Image:
    """Return a box of an image, resized; what lies outside of the image is black."""
    left, top, right, bottom = box
    pad = max(0, int(np.ceil(max(-left, -top, right - image.width, bottom - image.height))))
    if pad:
        wider = Image.new(image.mode, (image.width + 2 * pad, image.height + 2 * pad))
        wider.paste(image, (pad, pad))
        image = wider
    return image.resize(size, how, box=(left + pad, top + pad, right + pad, bottom + pad))


def _view(images: Images, labels: Masks) -> _View:
    rows, columns = np.nonzero((labels > 0).any(axis=(0, 1)))
    low, high = _window(images, labels)
    if not len(rows):
        side = max(images.shape[2:4])
        top, left = (images.shape[2] - side) / 2, (images.shape[3] - side) / 2
        return _View((left, top, left + side, top + side), low, high)
    length = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    half = length * (0.5 + MARGIN)
    x, y = (float(where.min() + where.max() + 1) / 2 for where in (columns, rows))
    return _View((x - half, y - half, x + half, y + half), low, high)


def _window(images: Images, labels: Masks) -> tuple[float, float]:
    """Return the grey values shown as black and as white."""
    if _in_colour(images, labels):
        return 0, 255
    some = images[..., ::2, ::2].astype(np.float32)
    low, high = (float(value) for value in np.percentile(some, (1, 99)))
    return (low, high) if high > low else (low, low + 1)


def _phases(count: int, wanted: Sequence[int] | None, most: int, marks: Mapping[int, str]) -> list[int]:
    if wanted is not None:
        return list(wanted)
    must = {phase for phase in marks if 0 <= phase < count}
    for taken in range(min(most, count), 0, -1):
        chosen = must | set(_spread(count, taken))
        if len(chosen) <= max(most, len(must)):
            return sorted(chosen)
    return sorted(must)


def _spread(count: int, most: int) -> list[int]:
    return [index * count // min(most, count) for index in range(min(most, count))]


def _told(images: Images, labels: Masks) -> str:
    phases, slices = labels.shape[:2]
    if _in_colour(images, labels):
        return "photograph" if phases == 1 else f"photographs, {_count(phases, 'frame')}"
    return f"{_count(slices, 'slice')}, {_count(phases, 'phase')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _legend(pen: ImageDraw.ImageDraw, task: Task, width: int, title: str) -> None:
    pen.text((8, 20), title, TEXT, _font(15), anchor="ls")
    pen.text((width - 8, 20), RESEARCH, MARK, _font(15), anchor="rs")
    left = 8.0
    for label in LABELS[task]:
        pen.line([(left, 40), (left + 18, 40)], label.rgb, 3)
        pen.text((left + 24, 45), label.title, TEXT, _font(13), anchor="ls")
        left += 44 + pen.textlength(label.title, _font(13))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
