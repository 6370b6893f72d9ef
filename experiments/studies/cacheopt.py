"""CacheOPT (arXiv 2503.13773) with one part less, with its open readings chosen otherwise, and beside others."""

from experiments.studies.study import SMALL, Study, Variant
from experiments.studies.verdicts import what_moves

OFF = "padding=False,embedding=False,critical_first=False,ahead=0,reserve_blocks=0,victim_order=False"
STUDY = Study(
    "cacheopt",
    "What does each part of CacheOPT bring, and how does it compare?",
    (
        Variant("cacheopt"),
        Variant("cacheopt,padding=False", "C off: predictions as they are"),
        Variant("cacheopt,embedding=False", "A: nobody lives in another's cache"),
        Variant("cacheopt,critical_first=False", "A: order of arrival"),
        Variant("cacheopt,ahead=0,reserve_blocks=0", "A: nothing ahead, nothing in reserve"),
        Variant("cacheopt,victim_order=False", "P off: the newest"),
        Variant("cacheopt,preemption=recompute", "S off: always recompute"),
        Variant("cacheopt,preemption=swap", "S off: always swap"),
        Variant(f"cacheopt,{OFF},preemption=recompute", "all off: cache for the predicted length, first come first"),
        Variant("cacheopt,spread=deviations", "(b - a): what predictions were wrong by"),
        Variant("cacheopt,deviation=under", "padding always added"),
        Variant("cacheopt,late=False", "who is late already is not critical"),
        Variant("cacheopt,chunked_prefill=True", "on chunks of 512 tokens, as Sarathi-Serve"),
        Variant("cacheopt", "told the truth", "perfect"),
        Variant("vllm"),
        Variant("sarathi"),
        Variant("accelgen"),
    ),
    what_moves,
    settings=(SMALL._replace(rates=(0.5, 0.8)),),
    metrics=(
        *("p95_ttft", "p99_ttft", "p95_tbt", "p99_tbt", "slo_attainment_ttft", "slo_attainment_tbt"),
        *("slo_attainment_requests", "request_goodput", "goodput", "mean_jct", "preemptions"),
    ),
)
