from remuda.gateway.access.keys import KeyRefusal
from remuda.gateway.access.refusals import KEY_REFUSED


def test_every_refusal_of_a_key_has_its_answer():
    assert KEY_REFUSED.keys() == set(KeyRefusal)
    statuses = {refusal.value: problem.status for refusal, problem in KEY_REFUSED.items()}
    assert statuses == {"missing": 401, "malformed": 401, "unknown": 401, "expired": 401, "disabled": 403}
