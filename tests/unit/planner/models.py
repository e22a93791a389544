"""Short ways to build a model for the tests of the planner's checks."""

from remuda import spec

CPU: dict[str, object] = {"hardware": {"gpu": "none"}}
LLAMA_8B: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "max_position_embeddings": 8192,
}


def model(**fields: object) -> spec.Model:
    source = {} if "endpoints" in fields else {"source": "hf://org/name@v1"}
    return spec.Model.model_validate({"metadata": {"name": "m"}, "spec": source | fields}, by_alias=True)


def engine(**fields: object) -> dict[str, object]:
    return {"engine": fields}


def on(gpu: str, **fields: object) -> dict[str, object]:
    return {"hardware": {"gpu": gpu, **fields}}
