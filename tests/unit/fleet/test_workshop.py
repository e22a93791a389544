import pytest

from remuda import spec
from remuda.engine.build import Progress
from remuda.fleet import events, workshop


def model_on(gpu: str) -> spec.Model:
    text = (
        "{apiVersion: remuda.dev/v1alpha1, kind: Model, metadata: {name: demo}, "
        f"spec: {{source: 'demo://remuda-demo', hardware: {{gpu: {gpu}}}}}}}"
    )
    return spec.load_text(text).models[0]


@pytest.mark.parametrize(
    ("gpu", "has_gpu", "variant"),
    [
        ("auto", False, None),
        ("auto", True, None),
        ("none", False, None),  # whichever CPU build can be had here
        ("none", True, "cpu"),
        ("H100", True, "cuda"),
    ],
)
def test_file_chooses_the_build_of_vllm(gpu: str, has_gpu: bool, variant: str | None) -> None:
    assert workshop.pick_variant(model_on(gpu), has_gpu=has_gpu) == variant


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (Progress("checking", "first import"), "checking first import"),
        (Progress("downloading", "torch", 400_000_000, 1_900_000_000), "downloading torch, 0.4 of 1.9 GB"),
        (Progress("downloading", "model", 400_000_000), "downloading model, 0.4 GB"),
    ],
)
def test_progress_tells_sizes(progress: Progress, said: str) -> None:
    assert workshop.describe_progress(progress) == said


def test_work_that_was_not_needed_is_not_told() -> None:
    told: list[events.AnyEvent] = []
    reporter = workshop.StepReporter("weights/demo", "weights of demo", told.append)
    reporter.finish()
    assert told == []
    reporter.report(Progress("downloading", "model", 1, 2))
    reporter.finish()
    assert [event.state for event in told if isinstance(event, events.Step)] == ["running", "done"]
    assert isinstance(told[0], events.Step)
    assert told[0].fraction == 0.5
