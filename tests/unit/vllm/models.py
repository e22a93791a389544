"""Model files of these tests: one per machine the golden command lines are kept for."""

from dataclasses import replace

from remuda import spec
from remuda.vllm.arguments import Target


def make_model(name: str, spec_fields: dict | None = None, **engine: object) -> spec.Model:
    """A model with these engine settings."""
    document = {
        "apiVersion": spec.API_VERSION,
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"source": "hf://org/name@abc", "engine": engine, **(spec_fields or {})},
    }
    return spec.Model.model_validate(document)


GPU = Target(variant="cuda", model_path="/weights/model", port=8000, cache_path="/cache")
CPU = Target(variant="cpu", model_path="/weights/model", port=8000, cores=(0, 1, 2, 3), threads=3)

CASES: dict[str, tuple[spec.Model, Target]] = {
    "cpu-demo": (
        make_model(
            "remuda-demo",
            {"aliases": ["demo"], "replicas": 2},
            maxModelLen=2048,
            blockSize=16,
            kvCacheMemory="64Mi",
            toolParser="hermes",
        ),
        CPU,
    ),
    "cpu-tp2": (make_model("two-ranks", kvCacheMemory="64Mi", parallel={"tensor": 2}), CPU),
    "cpu-pp2": (make_model("two-stages", parallel={"pipeline": 2, "layerPartition": [10, 12]}), CPU),
    "l4-8b": (
        make_model(
            "llama-8b",
            maxModelLen=8192,
            gpuMemoryUtilization=0.9,
            maxNumSeqs=64,
            kvOffload="8Gi",
            env=[{"name": "VLLM_LOG_STATS_INTERVAL", "value": "5"}],
        ),
        GPU,
    ),
    "a100-long": (
        make_model("long", maxModelLen=131072, kvCacheDtype="fp8", blockSize=32, chunkedPrefill=True, dtype="bfloat16"),
        GPU,
    ),
    "whole-prompts": (make_model("whole", maxModelLen=16384, chunkedPrefill=False, maxNumBatchedTokens=16384), GPU),
    "h100-fp8": (
        make_model(
            "fp8",
            quantization="fp8",
            reasoningParser="qwen3",
            toolParser="hermes",
            speculative={"method": "eagle3", "model": "hf://org/draft@1", "numTokens": 4, "tensor": 1},
            extraArgs={"stream-interval": 4, "async-scheduling": False, "compilation-config": {"mode": 3}},
        ),
        Target("cuda", "/weights/model", 8000, draft_path="/weights/draft"),
    ),
    "h100x8-70b": (
        make_model("llama-70b", parallel={"tensor": 8}, cudaGraphs=True, schedulingPolicy="priority"),
        GPU,
    ),
    "moe-ep": (make_model("moe", parallel={"tensor": 1, "data": 8, "expert": True}, trustRemoteCode=True), GPU),
    "two-nodes-second": (
        make_model("big", parallel={"tensor": 8, "pipeline": 2, "nodes": 2}, prefixCaching=False, cudaGraphs=False),
        Target("cuda", "/weights/model", 8000, node_rank=1, master_address="10.0.0.1"),
    ),
    "adapters": (
        make_model(
            "base",
            adapters=[{"name": "sql", "source": "hf://org/sql@1"}, {"name": "legal", "source": "hf://org/legal@1"}],
            maxAdapters=1,
            maxAdapterRank=64,
            chatTemplate="/templates/chat.jinja",
        ),
        Target("cuda", "/weights/model", 8000, adapter_paths={"sql": "/weights/sql", "legal": "/weights/legal"}),
    ),
    "cpu-adapters": (
        make_model(
            "base",
            adapters=[{"name": "sql", "source": "hf://org/sql@1"}, {"name": "legal", "source": "hf://org/legal@1"}],
            maxAdapters=1,
        ),
        replace(CPU, adapter_paths={"sql": "/weights/sql", "legal": "/weights/legal"}),
    ),
    "speech": (make_model("speech", {"capabilities": ["transcription"]}, maxNumSeqs=32), GPU),
    "embedding": (make_model("embed", {"capabilities": ["embedding"]}, maxNumSeqs=32), GPU),
    "vision": (make_model("vision", multimodal={"limits": {"image": 2, "video": 0}}, cpuOffload="10Gi"), GPU),
}
