"""Laws of the table of answers and of the schedule."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.deliver.answers import HTTP, STATUSES, Verdict, of_http, of_rejection, of_status
from serving.deliver.schedule import CAP_S, SLOW_CAP_S, SLOW_FIRST_S, delay_s
from serving.deliver.stow import judge


def test_every_dimse_status_means_exactly_one_thing() -> None:
    verdicts = {status: of_status(status).verdict for status in range(0x10000)}
    assert set(verdicts.values()) == set(Verdict)
    assert len(verdicts) == 0x10000
    assert all(verdicts[s] is Verdict.DELIVERED for s in (0x0000, 0x0111, 0xB000, 0xB006, 0xB007, 0xBFFF))
    assert all(verdicts[s] is Verdict.TRANSIENT for s in (0xA700, 0xA7FF, 0x0110, 0xFE00))
    assert all(
        verdicts[s] is Verdict.PERMANENT for s in (0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122, 0x0124, 0xA800, 0xFFFF)
    )


def test_every_http_status_means_exactly_one_thing() -> None:
    verdicts = {status: of_http(status).verdict for status in range(1000)}
    assert all(verdicts[s] is Verdict.PERMANENT for s in range(400, 500) if s not in (408, 425, 429))
    assert all(verdicts[s] is Verdict.TRANSIENT for s in (408, 425, 429, 500, 502, 503, 504, 507))
    assert [s for s, verdict in verdicts.items() if verdict is Verdict.DELIVERED] == [200, 204]


def test_the_tables_have_no_row_that_is_never_reached() -> None:
    for table, last in ((STATUSES, 0xFFFF), (HTTP, 999)):
        reached = {next(i for i, row in enumerate(table) if row.first <= s <= row.last) for s in range(last + 1)}
        assert reached == set(range(len(table)))


@given(status=st.integers(200, 599), reason=st.integers(1, 0xFFFF))
def test_the_failure_reason_of_an_instance_decides_over_the_http_status(status: int, reason: int) -> None:
    assert of_http(status, reason, referenced=True).verdict is of_status(reason).verdict


@pytest.mark.parametrize(
    ("result", "source", "reason", "verdict"),
    [
        (1, 1, 3, Verdict.PERMANENT),
        (1, 1, 7, Verdict.PERMANENT),
        (1, 1, 1, Verdict.PERMANENT),
        (1, 2, 2, Verdict.PERMANENT),
        (2, 1, 1, Verdict.TRANSIENT),
        (1, 3, 1, Verdict.TRANSIENT),
        (2, 3, 2, Verdict.TRANSIENT),
    ],
)
def test_rejected_associations(result: int, source: int, reason: int, verdict: Verdict) -> None:
    assert of_rejection(result, source, reason).verdict is verdict


def sequence(tag: str, **elements: object) -> dict[str, object]:
    return {tag: {"vr": "SQ", "Value": [{key[1:]: {"vr": "US", "Value": [value]} for key, value in elements.items()}]}}


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, {}, Verdict.DELIVERED),
        (200, sequence("00081199", t00081155="2.25.1"), Verdict.DELIVERED),
        (202, sequence("00081199", t00081155="2.25.1"), Verdict.DELIVERED),
        (202, {}, Verdict.TRANSIENT),
        (200, sequence("00081198", t00081197=0xA700), Verdict.TRANSIENT),
        (409, sequence("00081198", t00081197=0x0111), Verdict.DELIVERED),
        (409, sequence("00081198", t00081197=0xA900), Verdict.PERMANENT),
        (409, sequence("00081198", t00081197=0x0110), Verdict.TRANSIENT),
        (409, sequence("00081198", t00081155="2.25.1"), Verdict.PERMANENT),
        (409, {"00081198": {"vr": "SQ"}}, Verdict.PERMANENT),
        (200, {"00081198": {"vr": "SQ"}}, Verdict.DELIVERED),
        (409, {}, Verdict.PERMANENT),
        (503, {}, Verdict.TRANSIENT),
        (200, [1, 2], Verdict.DELIVERED),
        (200, {"00081198": {"Value": ["junk"]}}, Verdict.DELIVERED),
    ],
)
def test_stow_responses(status: int, body: object, verdict: Verdict) -> None:
    assert judge(status, json.dumps(body).encode()).verdict is verdict


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_any_body_is_judged_without_an_error(status: int, body: bytes) -> None:
    assert judge(status, body).verdict in Verdict


@given(st.sampled_from([Verdict.TRANSIENT, Verdict.PERMANENT]), st.integers(1, 10**6))
def test_waits_grow_and_stay_bounded(verdict: Verdict, attempts: int) -> None:
    cap = CAP_S if verdict is Verdict.TRANSIENT else SLOW_CAP_S
    assert 0 < delay_s(attempts, verdict) <= delay_s(attempts + 1, verdict) <= cap


def test_the_schedule_starts_as_promised_and_reaches_its_caps() -> None:
    assert [delay_s(n, Verdict.TRANSIENT) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert delay_s(20, Verdict.TRANSIENT) == 300.0
    assert delay_s(1, Verdict.PERMANENT) == SLOW_FIRST_S
    assert delay_s(20, Verdict.PERMANENT) == 21600.0
    assert delay_s(5, Verdict.DELIVERED) == 0.0


def test_sentences_say_the_number_that_came() -> None:
    assert "0xA900" in of_status(0xA900).sentence
    assert "HTTP 503" in of_http(503).sentence
    assert of_status(0).sentence == "stored"
