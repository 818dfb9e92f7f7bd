"""QIDO-RS: searches find exactly what matches, at every level, in pages."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from serving.index.models import Instance
from serving.removal import remove_study
from tests.builders import Exam
from tests.serving.receiving import Receiving, receiving, served

NAMES = ["Meyer^Anna", "Meyer^Bea", "Mayr^Anna", "100%_sure", "back\\slash"]
DATES = ["20230101", "20230615", "20240102", "20240103", ""]


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    """Five studies: a cine of 2 x 2 images each; the first also has a report and a screenshot."""
    with receiving(tmp_path_factory.mktemp("qido")) as made:
        for number, (name, date) in enumerate(zip(NAMES, DATES, strict=True)):
            exam = Exam(str(number))
            objects = exam.short_axis(2, 2) + ([exam.report(), exam.screenshot()] if number == 0 else [])
            for one in objects:
                one.PatientName, one.StudyDate, one.PatientID = name.replace("\\", ""), date, f"P{number}"
                made.take(one)
        yield made


@pytest.fixture(scope="module")
def address(side: Receiving) -> Iterator[str]:
    with served(side.app()) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> DICOMwebClient:
    return DICOMwebClient(f"{address}/dicom-web")


def study_uid(number: int) -> str:
    return Exam(str(number)).study_uid


def get(address: str, path: str, **options: Any) -> httpx.Response:
    return httpx.get(f"{address}/dicom-web/{path}", timeout=30, **options)


def studies(address: str, **matches: str) -> set[int]:
    """Numbers of the studies that a search finds."""
    answer = get(address, "studies", params=matches)
    found = [one["0020000D"]["Value"][0] for one in answer.json()] if answer.status_code == 200 else []
    assert len(found) == len(set(found))
    return {number for number in range(5) if study_uid(number) in found}


def test_the_newest_study_comes_first_with_what_is_counted_for_it(client: DICOMwebClient, address: str) -> None:
    found = client.search_for_studies()
    assert [one["0020000D"]["Value"][0] for one in found] == [study_uid(number) for number in (4, 3, 2, 1, 0)]
    oldest = found[-1]
    assert oldest["00080061"]["Value"] == ["MR", "OT", "SR"]
    assert oldest["00201206"]["Value"] == [3]
    assert oldest["00201208"]["Value"] == [6]
    assert oldest["00081190"]["Value"] == [f"{address}/dicom-web/studies/{study_uid(0)}"]
    for tag in ("00080020", "00080030", "00080050", "00100010", "00100020", "00100030", "00100040", "00200010"):
        assert "vr" in oldest[tag]


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"PatientName": "Meyer^Anna"}, {0}),
        ({"PatientName": "meyer*"}, {0, 1}),
        ({"PatientName": "M*^Anna"}, {0, 2}),
        ({"PatientName": "M??er^*"}, {0, 1}),
        ({"PatientName": "Ma?r*"}, {2}),
        ({"PatientName": "100%*"}, {3}),
        ({"PatientName": "1*_sure"}, {3}),
        ({"PatientName": "1__*"}, set()),
        ({"PatientName": "*"}, {0, 1, 2, 3, 4}),
        ({"00100020": "P3"}, {3}),
        ({"PatientID": "P*"}, {0, 1, 2, 3, 4}),
        ({"PatientID": "P"}, set()),
        ({"PatientID": ""}, {0, 1, 2, 3, 4}),
        ({"StudyInstanceUID": study_uid(2)}, {2}),
        ({"StudyInstanceUID": f"{study_uid(2)},{study_uid(4)}"}, {2, 4}),
        ({"StudyInstanceUID": f"{study_uid(2)}\\{study_uid(4)}"}, {2, 4}),
        ({"StudyDate": "20240102"}, {2}),
        ({"StudyDate": "20230101-20240102"}, {0, 1, 2}),
        ({"StudyDate": "20240102-"}, {2, 3}),
        ({"StudyDate": "-20230615"}, {0, 1}),
        ({"AccessionNumber": "A1", "PatientID": "P1"}, {1}),
        ({"ModalitiesInStudy": "SR"}, {0}),
        ({"ModalitiesInStudy": "MR"}, {0, 1, 2, 3, 4}),
        ({"ModalitiesInStudy": "OT,CT"}, {0}),
        ({"Modality": "SR"}, {0}),
        ({"ModalitiesInStudy": "CT"}, set()),
    ],
)
def test_matching_of_studies(address: str, matches: dict[str, str], expected: set[int]) -> None:
    assert studies(address, **matches) == expected


@pytest.mark.parametrize("text", ["'; DROP TABLE study; --", '"', "%", "_", "\\", "$[0]", "\x00", "é"])
def test_what_is_searched_for_is_never_part_of_the_question(address: str, text: str) -> None:
    assert studies(address, PatientID=text) == set()
    assert studies(address) == {0, 1, 2, 3, 4}


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(0, 7), offset=st.integers(0, 7))
def test_pages_are_slices_of_the_whole(client: DICOMwebClient, limit: int, offset: int) -> None:
    whole = client.search_for_studies()
    assert client.search_for_studies(limit=limit, offset=offset) == whole[offset : offset + limit]
    instances = client.search_for_instances(study_uid(0))
    assert len(instances) == 6
    assert client.search_for_instances(study_uid(0), limit=limit, offset=offset) == instances[offset : offset + limit]


def test_an_offset_alone(client: DICOMwebClient) -> None:
    assert client.search_for_studies(offset=3) == client.search_for_studies()[3:]


def test_series_of_a_study(client: DICOMwebClient, address: str) -> None:
    found = client.search_for_series(study_uid(0))
    assert [one["00080060"]["Value"][0] for one in found] == ["MR", "SR", "OT"]
    assert [one["00201209"]["Value"][0] for one in found] == [4, 1, 1]
    assert {one["0020000D"]["Value"][0] for one in found} == {study_uid(0)}
    uid = found[1]["0020000E"]["Value"][0]
    assert found[1]["00081190"]["Value"] == [f"{address}/dicom-web/studies/{study_uid(0)}/series/{uid}"]
    assert client.search_for_series(study_uid(0), search_filters={"Modality": "SR"}) == [found[1]]
    assert client.search_for_series(study_uid(0), search_filters={"SeriesInstanceUID": uid}) == [found[1]]
    assert client.search_for_series(study_uid(0), search_filters={"SeriesNumber": 2}) == [found[1]]
    assert client.search_for_series("1.2.3") == []


def test_series_of_all_studies(client: DICOMwebClient) -> None:
    found = client.search_for_series(search_filters={"Modality": "MR", "PatientName": "Meyer*"}, fields=["all"])
    assert [one["00100020"]["Value"][0] for one in found] == ["P1", "P0"]


def test_instances(client: DICOMwebClient, address: str) -> None:
    series = client.search_for_series(study_uid(0))[0]["0020000E"]["Value"][0]
    found = client.search_for_instances(study_uid(0), series)
    assert [one["00200013"]["Value"][0] for one in found] == [1, 2, 3, 4]
    uid = found[2]["00080018"]["Value"][0]
    place = f"{address}/dicom-web/studies/{study_uid(0)}/series/{series}/instances/{uid}"
    assert found[2]["00081190"]["Value"] == [place]
    assert found[2]["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.4"]
    assert found[2]["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    for matches in ({"SOPInstanceUID": uid}, {"00080018": uid}, {"InstanceNumber": 3}):
        assert client.search_for_instances(study_uid(0), series, search_filters=matches) == [found[2]]
    everywhere = client.search_for_instances(search_filters={"SOPInstanceUID": uid})
    assert everywhere[0]["00100020"]["Value"] == ["P0"]
    assert len(client.search_for_instances()) == 22
    assert len(client.search_for_instances(search_filters={"Modality": "SR"})) == 1


def test_matches_against_the_address_find_nothing(address: str) -> None:
    answer = get(address, f"studies/{study_uid(0)}/series", params={"StudyInstanceUID": study_uid(1)})
    assert answer.status_code == 204


@pytest.mark.parametrize("path", ["*/series", "*/instances", "{}/series/*/instances", "{}*/series", "{},1.2/series"])
def test_an_address_names_one_study_and_never_a_pattern(address: str, path: str) -> None:
    """Whoever may see a study whose UID they know may not see all others by a wildcard in the address."""
    answer = get(address, "studies/" + path.format(study_uid(0)))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_uid")


def test_an_address_that_does_not_exist_is_answered_like_every_error(address: str) -> None:
    answer = get(address, "nothing/here")
    assert (answer.status_code, answer.json()) == (404, {"code": "http_404", "reason": "Not Found."})


def test_nothing_found_is_no_content(client: DICOMwebClient, address: str) -> None:
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    answer = get(address, "studies", params={"PatientID": "nobody"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "query", ["NoSuchKeyword=1", "limit=-1", "limit=x", "offset=1.5", "limit=99999999999", "001000=x", "<b>=1"]
)
def test_nonsense_is_a_bad_request(address: str, query: str) -> None:
    answer = get(address, f"studies?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_query"


@pytest.mark.parametrize("query", ["fuzzymatching=true", "OperatorsName=x", "Rows=20"])
def test_what_is_not_supported_is_ignored_with_a_warning(address: str, query: str) -> None:
    answer = get(address, f"studies?{query}")
    assert (answer.status_code, len(answer.json())) == (200, 5)
    assert answer.headers["warning"].startswith("299 ")


@pytest.mark.parametrize("query", ["fuzzymatching=false", "includefield=all", "includefield=00081030,StudyDate"])
def test_other_parameters_are_taken(address: str, query: str) -> None:
    answer = get(address, f"studies?{query}")
    assert answer.status_code == 200
    assert "warning" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/dicom+json", 200),
        ("application/json", 200),
        ("*/*", 200),
        ("application/dicom+xml, application/dicom+json;q=0.5", 200),
        ('multipart/related; type="application/dicom+xml"', 406),
        ("text/html", 406),
    ],
)
def test_only_json_is_answered(address: str, accept: str, status: int) -> None:
    answer = get(address, "studies", headers={"Accept": accept})
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"] == "application/dicom+json"


def test_what_does_not_count_is_not_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    with receiving(tmp_path_factory.mktemp("kinds")) as side, served(side.app()) as address:
        exam = Exam()
        images = exam.short_axis(5, 1)
        for one in images:
            side.take(one)
        with side.db.write() as session:
            for row, kind in zip(
                session.query(Instance).order_by(Instance.id),
                ("source", "result", "returned", "aside", "replaced"),
                strict=True,
            ):
                row.kind = kind
        client = DICOMwebClient(f"{address}/dicom-web")
        assert client.search_for_studies()[0]["00201208"]["Value"] == [2]
        found = [one["00080018"]["Value"][0] for one in client.search_for_instances(exam.study_uid)]
        assert found == [images[0].SOPInstanceUID, images[1].SOPInstanceUID]
        remove_study(side.db, side.archive, exam.study_uid, who="x", why="y")
        assert client.search_for_studies() == client.search_for_series() == client.search_for_instances() == []


def test_at_most_a_thousand_matches_come_across_studies(side: Receiving, address: str) -> None:
    from serving.dicomweb import qido

    before, qido.MOST_ACROSS_STUDIES = qido.MOST_ACROSS_STUDIES, 3
    try:
        for level, asked in product(("studies", "series", "instances"), ("", "?limit=100")):
            assert len(get(address, level + asked).json()) == 3
        assert len(get(address, f"studies/{study_uid(0)}/instances").json()) == 6
    finally:
        qido.MOST_ACROSS_STUDIES = before
