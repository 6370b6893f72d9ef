"""AccelGen with one component less."""

from experiments.figures.figure import ACCELGEN, STATED, Claim, Figure, grid
from experiments.studies.study import BIG, SMALL, Variant

CHUNKS = Variant("accelgen,dynamic_chunking=False", "chunks of 512")
WHOLE = Variant("accelgen,dynamic_chunking=False,static_chunk=100000", "whole prompts")
ORDER = Variant("accelgen,slo_ordering=False", "FIFO")
RUNNING = Variant("accelgen,slo_ordering=False,stalls=False", "FIFO, no stalls")
RESOURCES = Variant("accelgen,multi_resource=False", "no distance")
LETTER = Variant("accelgen,admission=chunk", "room for a chunk")
DIGEST = "a digest of section 5; the variant is inferred"
BESIDE = (ACCELGEN.title,)
FIGURE = Figure(
    grid(
        "ablation",
        "What does each component of AccelGen bring?",
        (ACCELGEN, CHUNKS, WHOLE, ORDER, RUNNING, RESOURCES, LETTER),
        (SMALL, BIG),
        ("token_throughput", "goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests"),
    ),
    (
        Claim(
            "without dynamic chunking, throughput falls: static chunks",
            DIGEST,
            *("token_throughput", CHUNKS.title, BESIDE, (-97.0, -97.0), "%", STATED),
            why="the cache is full and decodes set the pace; a loss of 97 % would mean that the machine stands still.",
        ),
        Claim(
            "without dynamic chunking, throughput falls: whole prompts",
            DIGEST,
            *("token_throughput", WHOLE.title, BESIDE, (-97.0, -97.0), "%", STATED),
            why="as above; vLLM, which computes whole prompts, is as fast.",
        ),
        Claim(
            "without ordering, throughput falls",
            DIGEST,
            *("token_throughput", ORDER.title, BESIDE, (-35.0, -35.0), "%", STATED),
            why="the size is right on OPT-13B, the reason another one: decodes wait for a block that nobody is urgent "
            "enough to be given. With stalls=False throughput is the same or higher.",
        ),
        Claim(
            "without ordering, goodput falls",
            DIGEST,
            *("goodput", ORDER.title, BESIDE, (-52.0, -52.0), "%", STATED),
            why="all of it is decodes that wait for a block, which nobody is urgent enough to be given: with "
            "stalls=False nothing of token goodput is lost.",
        ),
        Claim(
            "without ordering, SLO attainment falls, of tokens",
            f"{DIGEST}; so is that they are points",
            *("slo_attainment_tokens", ORDER.title, BESIDE, (-42.0, -42.0), "points", STATED),
            why="on OPT-13B nearly all tokens are in time anyway; on 176B smaller batches make shorter iterations.",
        ),
        Claim(
            "without multi-resource batching, throughput falls: in order",
            DIGEST,
            *("token_throughput", RESOURCES.title, BESIDE, (-61.0, -61.0), "%", STATED),
            why="the distance prefers who demands most, the cache runs out first, and the order within a window "
            "decides nothing.",
        ),
        Claim(
            "without multi-resource batching, throughput falls: regardless of the cache",
            f"{DIGEST}, and the furthest one",
            *("token_throughput", LETTER.title, BESIDE, (-61.0, -61.0), "%", STATED),
            why="prompts that start with room for a chunk only are dropped half-done: 8.2 million tokens are computed "
            "anew on OPT-13B, 2.2 million on 176B, whose cache holds four times as many.",
        ),
    ),
    "AccelGen's ablation; what its variants do instead is not known, so that several are tried.",
)
