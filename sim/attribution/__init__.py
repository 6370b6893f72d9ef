"""Why requests were late: the delay of each beyond what it takes alone on an idle machine, split into causes.

Computed after the run from its tables and the cost model. Alone means: the whole prompt in one iteration, then one
iteration per token. What a time is longer than that is its delay, and the causes add up to it, to rounding. The first
token's delay and the later tokens' are split apart; together they are the delay of the completion time.

Waiting, from the arrival to the first iteration that computes any of its prompt:

- `kv_wait`: iterations during which fewer blocks were free than its admission took in the end (a watermark included);
- `queueing`: the rest. Its blocks were there, but not its turn: an order, a token budget, a limit on sequences, the
  iteration that ran when it came. Who stands behind another that waits for the cache queues.

Its prompt, until the first token:

- `chunk_stall`: between its first and its last chunk, iterations that computed none of it;
- `chunking`: its chunks, each alone on the machine, take longer than the prompt in one piece (or shorter: negative);
- `prefill_interference`: what the other prompts add to its chunks' iterations;
- `batch_slowdown`: what the decodes add to those, on top.

Its later tokens:

- `prefill_interference`: iterations of prompts alone while it could decode, and what prompts add to iterations that
  decode;
- `batch_slowdown`: how much longer all decodes of an iteration take than its own alone;
- `paused`: it could decode and keeps its cache, but others run.

Anywhere:

- `preemption`: from its eviction (dropped or swapped out) to the iteration that continues it, or if its cache was lost
  to the token that it has again computed its way to; before the first token, the attempts that were lost; and what
  copies of anybody's cache add to its iterations;
- `beyond_model`: what iterations took longer than the cost model says: scheduling time charged to the clock, or a
  device's own mind.

Conventions, where tables cannot decide. An iteration's time is no sum over its requests: here one first has one's own,
then the others of one's kind add theirs, then the other kind (decodes count before prompts for who decodes, prompts
before decodes for who prefills), then the copies. Where the weights are read anyway this order charges the first ones.
The tables do not say why a policy passed a request over; hence `queueing` is what is left of waiting. Of a policy that
cuts the first chunk to what is free, `kv_wait` only knows the blocks that it took then. The token after a lost cache
is in `preemption` whoever shared the iterations of the recomputation.
"""

from sim.attribution.attribution import Attribution, attribute
from sim.attribution.causes import CAUSES, EXCESSES, LABELS
from sim.attribution.life import Stage, life
from sim.attribution.rollup import Missed, RollUp, roll_up

__all__ = ["CAUSES", "EXCESSES", "LABELS", "Attribution", "Missed", "RollUp", "Stage", "attribute", "life", "roll_up"]
