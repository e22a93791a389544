"""All targets by name."""

from tests.fuzz import answers, connections, fields, forms, relays, requests
from tests.fuzz.running import Target

_ALL = (requests.TARGET, connections.TARGET, fields.TARGET, forms.TARGET, answers.TARGET, relays.TARGET)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
