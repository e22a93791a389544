"""The fast parser of engine metrics."""

from hypothesis import given
from hypothesis import strategies as st

from remuda.vllm.metrics import EngineMetrics, parse_metrics

TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny model {x} y"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 1.234e+06
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 55.0
vllm:num_preemptions_total{engine="0",model_name="tiny"} 11.0
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 110.0
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 32.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 7.0
vllm:cache_config_info{block_size="32",cache_dtype="auto",kv_cache_size_tokens="768",num_gpu_blocks="24"} 1.0
http_requests_total{handler="/v1/completions"} 9.0
"""


def test_gauges_and_counters_are_summed_over_ranks_and_usage_is_the_fullest():
    seen = parse_metrics(TEXT)
    assert seen == EngineMetrics(
        running=5,
        waiting=4,
        kv_usage=0.75,
        prompt_tokens=1_234_000,
        generated_tokens=55,
        preemptions=11,
        prefix_queries=110,
        prefix_hits=32,
        requests_done=12,
        cache={"block_size": "32", "cache_dtype": "auto", "kv_cache_size_tokens": "768", "num_gpu_blocks": "24"},
    )
    assert (seen.kv_tokens, seen.block_tokens) == (768, 32)


def test_an_engine_that_says_nothing_known_gives_zeros_and_no_sizes():
    seen = parse_metrics("python_info 1\n")
    assert seen == EngineMetrics()
    assert (seen.kv_tokens, seen.block_tokens) == (None, None)


@given(st.text(alphabet='vllm:num_requests_running{}" 0.eNaInf\n', max_size=300))
def test_no_text_breaks_the_parser(text):
    parse_metrics("vllm:num_requests_running" + text)
    parse_metrics(text)
