"""What pages and ``/api`` show of the index: plain dictionaries, made in one place for both.

Times are UTC seconds since 1970. ``study_view`` and ``stack_view`` hold no patient data, a sender may read them;
``studies_view`` and ``patient_view`` do, they are for readers.
"""

from serving.views.patient import patient_view
from serving.views.states import IN_PROGRESS, NEEDS_PERSON, PICTURED, URGENCY, study_state
from serving.views.studies import PAGE, counts_view, studies_view
from serving.views.study import stack_view, study_view
from serving.views.system import destinations_view, engine_view, settings_view, system_view

__all__ = [
    "IN_PROGRESS",
    "NEEDS_PERSON",
    "PAGE",
    "PICTURED",
    "URGENCY",
    "counts_view",
    "destinations_view",
    "engine_view",
    "patient_view",
    "settings_view",
    "stack_view",
    "studies_view",
    "study_state",
    "study_view",
    "system_view",
]
