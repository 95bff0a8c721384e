"""All stories, and with them every named step that is not of one run."""

from app.model.steps import Step
from tests.cascade_stories import CascadeStory, ContainerStory, HubStory, IntegrationStory
from tests.drift_stories import (
    AdoptStory,
    OrphanStory,
    ReconcileStory,
    RecoverStory,
    SuspectStory,
)
from tests.restore_stories import PlanStory, SafetyStory
from tests.step_stories import OwnerStory, RetentionStory, ScheduleStory, Story

STORIES: tuple[type[Story], ...] = (
    OwnerStory,
    ContainerStory,
    IntegrationStory,
    HubStory,
    ScheduleStory,
    SafetyStory,
    PlanStory,
    RetentionStory,
    AdoptStory,
    ReconcileStory,
    OrphanStory,
    SuspectStory,
    RecoverStory,
)
CASCADES: tuple[type[CascadeStory], ...] = (ContainerStory, IntegrationStory, HubStory)
MARKINGS = (Step.CASCADE_MARKING, Step.CASCADE_MARKED)
