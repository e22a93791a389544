"""All targets by name."""

from tests.fuzz import answers, relays, requests
from tests.fuzz.running import Target

TARGETS: dict[str, Target] = {target.name: target for target in (requests.TARGET, answers.TARGET, relays.TARGET)}
