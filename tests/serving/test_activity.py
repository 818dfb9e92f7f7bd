"""A study is open as long as something that carried it is."""

from hypothesis import given
from hypothesis import strategies as st

from serving.receive.activity import Activity

UIDS = st.sampled_from(["1.1", "1.2", "1.3"])


@given(carried=st.lists(st.tuples(st.lists(UIDS, max_size=3), st.booleans(), st.booleans()), max_size=6))
def test_open_studies_are_those_of_open_carriers(carried: list[tuple[list[str], bool, bool]]) -> None:
    activity = Activity()
    for studies, closed, dead in carried:
        carrier = activity.open(lambda dead=dead: not dead)
        for study in studies:
            carrier.touch(study)
        if closed:
            carrier.close()
    expected = {study for studies, closed, dead in carried if not (closed or dead) for study in studies}
    assert activity.open_studies() == expected
    assert activity.open_studies() == expected


def test_a_carrier_lives_as_long_as_its_block() -> None:
    activity = Activity()
    try:
        with activity.carrying() as carrier:
            carrier.touch("1.1")
            assert activity.open_studies() == {"1.1"}
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert activity.open_studies() == set()
