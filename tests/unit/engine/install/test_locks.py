"""The lock files that come with Remuda: what every engine's environment must contain."""

import re

import pytest

from remuda.engine.install.installation import lock_text
from remuda.engine.install.variants import DEFAULT_VERSION, VARIANTS


def hashed_packages(variant: str) -> set[str]:
    """The packages that the lock of this variant pins with at least one hash."""
    text = lock_text(DEFAULT_VERSION, variant)
    assert text is not None
    return set(re.findall(r"(?m)^([a-z0-9._-]+)==\S+ (?:;.*)?\\\n    --hash=sha256:[0-9a-f]{64}", text))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_packages_with_which_vllm_reads_sound(variant):
    assert {"av", "soundfile"} <= hashed_packages(variant)
