"""Volume curves: inside their frame, in order, with numbers on the axes that mean what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.pages.curves import SMALL, WHOLE, Frame, curve

FRAMES = st.sampled_from([WHOLE, SMALL])
VOLUMES = st.lists(st.floats(0, 5e5), min_size=2, max_size=60).filter(lambda values: max(values) > 0.01)


@given(values=VOLUMES, frame=FRAMES, data=st.data())
def test_a_curve_stays_inside_its_frame_and_in_order(values: list[float], frame: Frame, data: st.DataObject) -> None:
    phases = st.integers(1, len(values))
    found = curve(values, {"edv_ml": 1, "ed_phase": data.draw(phases), "es_phase": data.draw(phases)}, frame)
    assert found is not None
    assert len(found.points) == len(values)
    assert [x for x, _ in found.points] == sorted({x for x, _ in found.points})
    assert found.points[0][0] == frame.left
    assert found.points[-1][0] == pytest.approx(frame.width - frame.right, abs=0.1)
    assert all(frame.top <= y <= frame.height - frame.bottom for _, y in found.points)
    assert found.points[values.index(max(values))][1] == min(y for _, y in found.points)
    for end in found.ends:
        assert (end.x, end.y) == found.points[end.phase - 1]
        assert 0 <= end.text_x <= frame.width
        assert 0 <= end.text_y <= frame.height


@given(values=VOLUMES)
def test_levels_begin_at_zero_reach_over_the_curve_and_stand_where_their_value_is(values: list[float]) -> None:
    found = curve(values, {})
    assert found is not None
    numbers = [float(text.replace(",", "")) for _, text in found.levels]
    assert numbers[0] == 0
    assert numbers[-1] >= max(values) * 0.99999
    assert 2 <= len(numbers) <= 6
    assert [y for y, _ in found.levels] == sorted((y for y, _ in found.levels), reverse=True)
    per_unit = (found.levels[0][0] - found.levels[-1][0]) / numbers[-1]
    for value, (_, y) in zip(values, found.points, strict=True):
        assert y == pytest.approx(found.levels[0][0] - value * per_unit, abs=0.2)


@given(count=st.integers(2, 200))
def test_the_axis_of_phases_begins_at_one_and_is_not_crowded(count: int) -> None:
    found = curve([1.0] * count, {})
    assert found is not None
    phases = [int(text) for _, text in found.phases]
    assert phases[0] == 1
    assert phases == sorted(set(phases))
    assert len(phases) <= 11
    assert all(x == found.points[phase - 1][0] for phase, (x, _) in zip(phases, found.phases, strict=True))


def test_the_words_say_what_the_curve_shows() -> None:
    volumes = [142.3, 120, 61, 90]
    assert curve(volumes, {"edv_ml": 142.3, "ed_phase": 1, "es_phase": 3}).words == (  # type: ignore[union-attr]
        "Volume of the left ventricle over 4 phases: ED 142 mL in phase 1, ES 61 mL in phase 3"
    )
    assert curve(volumes, {"edv_voxels": 9}).words.endswith("phases: 61 to 142 voxels")  # type: ignore[union-attr]
    assert curve(volumes, {"ed_phase": 9, "es_phase": None}).ends == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("odd", [None, [], [1.0], [0, 0], ["a", 2], {"a": 1}, [None, 3], [float("nan"), 1]])
def test_no_curve_where_there_is_none(odd: object) -> None:
    assert curve(odd, {}) is None
