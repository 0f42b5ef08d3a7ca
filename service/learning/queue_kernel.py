"""QueueKernel: the compiled inner loops of :mod:`service.learning.queueing`, which says what they simulate.

Configurations, services and results are rows of numbers; the constants name their columns. Events are handled one at a
time in the order of their moments; at equal moments the event loop's jobs come first, then ends of batches, arrivals,
the timer. Batches in execution all progress alike, so one clock of *virtual* time serves them: it advances by what each
of them is given, and a batch that starts at virtual time v with w seconds of work ends at v + w.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from service.learning.compiled import compiled

#: Columns of a row of settings: what a configuration fixes.
DIRECT, MAX_BATCH, TIMEOUT, SLOTS, MAX_ENQUEUED, LIMIT, TIMER_STEP = range(7)
SETTING_COUNT = 7
#: Columns of a row of services: what the machine and the model make of it.
BASE, SYNC, SLOPE, CURVE, DEMAND, CPUS, THRASH, COUPLING, HOP, LOOP_IN, LOOP_OUT, DISPATCH = range(12)
FLOOR, JITTER, STALL = range(12, 15)
SERVICE_COUNT = 15
#: Columns of a row of results, before the quantiles.
MEAN, MEAN_BATCH, MEAN_WAIT, REFUSED, BUSY, GROWTH = range(6)
RESULT_COUNT = 6

#: More batches than this never progress at once, whatever is configured: the machine has far fewer processors.
_MOST_RUNNING = 256
#: The cost of waking intra-op threads grows with the size of the batch to this power (measured: 3.3 ms for 1 image, 5.9
#: for 8, 7.3 for 32), and is this much smaller when the machine is busy and threads hardly sleep (1.7, 3.6, 4.8 ms).
SYNC_CURVE = 0.25
AWAKE = 0.55
#: Share of the processors that batches keep while the event loop works.
_LEAST_SHARE = 0.2


@compiled
def run_many(
    arrivals: Any,
    sizes: Any,
    noise: Any,
    settings: Any,
    pads: Any,
    services: Any,
    quantiles: Any,
    results: Any,
) -> None:
    """Simulate each row of ``settings``, ``pads`` and ``services`` and write its sums into that row of ``results``."""
    n = len(arrivals)
    latency = np.empty(n)
    wait = np.empty(n)
    batch = np.empty(n, dtype=np.int64)
    filling = np.empty(n)
    execution = np.empty(n)
    batch_sizes = np.empty(n)
    floats = np.empty((4, n + 2))
    ints = np.empty((4, 3 * n + 2), dtype=np.int64)
    for row in range(len(settings)):
        batches, busy, growth = run(
            arrivals,
            sizes,
            noise,
            settings[row],
            pads[row],
            services[row],
            latency,
            wait,
            batch,
            filling,
            execution,
            batch_sizes,
            floats,
            ints,
        )
        refused = 0
        latency_sum = 0.0
        wait_sum = 0.0
        for i in range(n):
            if batch[i] < 0:
                refused += 1
                latency[i] = arrivals[n - 1]
            else:
                wait_sum += wait[i]
            latency_sum += latency[i]
        examples = 0.0
        for k in range(batches):
            examples += batch_sizes[k]
        out = results[row]
        out[MEAN] = latency_sum / n
        out[MEAN_BATCH] = examples / batches if batches else 0.0
        out[MEAN_WAIT] = wait_sum / (n - refused) if n > refused else 0.0
        out[REFUSED] = refused / n
        out[BUSY] = busy
        out[GROWTH] = growth
        latency.sort()
        for j in range(len(quantiles)):
            position = quantiles[j] * (n - 1)
            below = int(position)
            above = min(below + 1, n - 1)
            out[RESULT_COUNT + j] = latency[below] + (position - below) * (latency[above] - latency[below])


@compiled
def run(
    arrivals: Any,
    sizes: Any,
    noise: Any,
    setting: Any,
    pads: Any,
    service: Any,
    latency: Any,
    wait: Any,
    batch: Any,
    filling: Any,
    execution: Any,
    batch_sizes: Any,
    floats: Any,
    ints: Any,
) -> tuple[int, float, float]:
    """Simulate one row.

    Args:
        arrivals: Shape (n,).
        sizes: Shape (n,).
        noise: Shape (n, 3).
        setting: A row of settings.
        pads: A row of allowed batch sizes.
        service: A row of services.
        latency: Written, shape (n,).
        wait: Written, shape (n,).
        batch: Written, whole numbers, shape (n,).
        filling: Written, shape (n,).
        execution: Written by the number of the batch, shape (n,).
        batch_sizes: Written by the number of the batch, shape (n,).
        floats: Scratch, shape (4, n + 2).
        ints: Scratch, whole numbers, shape (4, 3 n + 2).

    Returns:
        Number of batches executed, share of the processors in use, growth of the backlog.
    """
    n = len(arrivals)
    direct = setting[DIRECT] > 0.5
    max_batch = setting[MAX_BATCH] + 1e-9
    timeout = setting[TIMEOUT]
    max_enqueued = int(setting[MAX_ENQUEUED])
    timer_step = setting[TIMER_STEP]
    base, sync, slope, curve = service[BASE], service[SYNC], service[SLOPE], service[CURVE]
    demand, cpus = service[DEMAND], service[CPUS]
    loop_in, loop_out, dispatch = service[LOOP_IN], service[LOOP_OUT], service[DISPATCH]
    floor, jitter, stall = service[FLOOR], service[JITTER], service[STALL]

    free = int(setting[SLOTS])
    limit = min(int(setting[LIMIT]), free, _MOST_RUNNING, n)
    if limit < 1:
        limit = 1
    speeds = np.empty((2, limit + 1))
    loop_speeds = np.empty(limit + 1)
    use = np.empty((2, limit + 1))
    for count in range(limit + 1):
        for working in range(2):
            wanted = count * demand + working
            # The event loop sleeps often, so the operating system lets it run as soon as it wakes.
            left = max(cpus - working, _LEAST_SHARE * cpus)
            share = min(1.0, left / (count * demand)) if count else 1.0
            crowd = min(max(0.0, count * demand - 1.0), max(cpus - 1.0, 0.0))
            drag = 1.0 + service[THRASH] * max(0.0, wanted / cpus - 1.0) + service[COUPLING] * crowd
            idle = (limit - count) / (limit - 1) if limit > 1 and count > 0 else 1.0
            speeds[working, count] = share / (drag * (1.0 + service[HOP] * idle))
            use[working, count] = min(wanted, cpus) / cpus
            if working == 1:
                loop_speeds[count] = min(1.0, cpus - min(count * demand, _LEAST_SHARE * cpus))

    since = floats[0]  # when a request entered the batch queue
    ends = floats[1]  # virtual time at which the i-th running batch ends, i < running
    taken_at = floats[2]  # when a batch was taken
    free_since = floats[3]  # what `free_clock` showed when a request entered the batch queue
    accepted = ints[0]  # requests in the order of entering the queue
    first = ints[1]  # position in `accepted` of each batch's first request
    who = ints[2]  # which batch the i-th running one is
    jobs = ints[3]  # of the event loop: r a request in, n + r its answer, 2n + k a batch's end

    now = virtual = 0.0
    arriving = 0
    job_head = job_tail = 0
    job_left = -1.0  # work left of the loop's present job; negative while there is none
    accepted_count = 0
    queue_head = queue_open = 0  # numbers of the oldest waiting and of the open batch
    first[0] = 0
    open_size = 0.0
    started = 0  # batches that progress or have progressed
    running = 0
    next_end = np.inf
    timer = np.inf
    timer_due = np.inf
    expired = -np.inf  # what the timer went off for last; so rounding cannot make it early
    look_next = False  # whether the loop looks at the queue after its present job
    answered = refused = 0
    in_use = free_clock = 0.0  # time during which a batch thread was free
    at_middle = 0
    at_end = 0

    while True:
        # The event loop takes up its next job.
        if job_left < 0.0 and job_head < job_tail:
            job = jobs[job_head]
            job_left = loop_in if job < n else (loop_out if job < 2 * n else dispatch)
        working = 1 if job_left > 0.0 else 0

        # What happens next: a batch ends, a job ends, a request arrives, the timer goes off.
        moment = np.inf
        event = 0
        if running:
            moment = now + max(next_end - virtual, 0.0) / speeds[working, running]
            event = 1
        if job_left >= 0.0:
            at = now + job_left / loop_speeds[running]
            if at < moment or (job_left == 0.0 and at <= moment):
                moment = at
                event = 2
        if arriving < n and arrivals[arriving] < moment:
            moment = arrivals[arriving]
            event = 3
        if timer < moment:
            moment = timer
            event = 4
        if event == 0:
            break
        passed = moment - now
        if passed > 0.0:
            virtual += passed * speeds[working, running]
            in_use += passed * use[working, running]
            if free > 0:
                free_clock += passed
            if working:
                job_left -= passed * loop_speeds[running]
                if job_left < 0.0:
                    job_left = 0.0
            now = moment

        look = False
        if event == 1:
            slot = 0
            for i in range(1, running):
                if ends[i] < ends[slot]:
                    slot = i
            ended = who[slot]
            running -= 1
            ends[slot] = ends[running]
            who[slot] = who[running]
            execution[ended] = now - taken_at[ended]
            jobs[job_tail] = 2 * n + ended
            job_tail += 1
            if direct:
                free += 1
                look = True
        elif event == 2:
            job = jobs[job_head]
            job_head += 1
            job_left = -1.0
            look, look_next = look_next, False
            if job < n:
                size = sizes[job]
                waiting = queue_open - queue_head + 1
                full = waiting > max_enqueued if direct else open_size + size > max_batch and waiting >= max_enqueued
                if full or (size > max_batch and not direct):
                    latency[job] = np.nan
                    wait[job] = np.nan
                    batch[job] = -1
                    refused += 1
                else:
                    if not direct and open_size + size > max_batch:
                        batch_sizes[queue_open] = open_size
                        queue_open += 1
                        first[queue_open] = accepted_count
                        open_size = 0.0
                    accepted[accepted_count] = job
                    accepted_count += 1
                    since[job] = now
                    free_since[job] = free_clock
                    batch[job] = queue_open
                    open_size += size
                    if direct:
                        batch_sizes[queue_open] = open_size
                        queue_open += 1
                        first[queue_open] = accepted_count
                        open_size = 0.0
                        look = True
                    elif free > 0:
                        look = True
            elif job < 2 * n:
                own = floor * np.exp(jitter * noise[job - n, 1]) + stall * noise[job - n, 2]
                latency[job - n] = now - arrivals[job - n] + own
                answered += 1
            else:
                ended = job - 2 * n
                for i in range(first[ended], first[ended + 1]):
                    jobs[job_tail] = n + accepted[i]
                    job_tail += 1
                if not direct:
                    free += 1
                    look = True
        elif event == 3:
            jobs[job_tail] = arriving
            job_tail += 1
            arriving += 1
            if arriving == n // 2:
                at_middle = arriving - answered - refused
            if arriving == n:
                at_end = arriving - answered - refused
        else:
            timer = np.inf
            expired = timer_due
            if job_left < 0.0:
                look = True
            else:
                look_next = True

        if look:
            while free > 0:
                if queue_head == queue_open:
                    # Only the open batch: it may be taken when it is full or its time is out.
                    if accepted_count == first[queue_open]:
                        break
                    oldest = since[accepted[first[queue_open]]]
                    if open_size < max_batch - 2e-9 and oldest + timeout > max(now, expired):
                        break
                    batch_sizes[queue_open] = open_size
                    queue_open += 1
                    first[queue_open] = accepted_count
                    open_size = 0.0
                free -= 1
                taken_at[queue_head] = now
                for i in range(first[queue_head], first[queue_head + 1]):
                    wait[accepted[i]] = now - since[accepted[i]]
                    filling[accepted[i]] = free_clock - free_since[accepted[i]]
                queue_head += 1
            if free > 0 and not direct:
                if accepted_count == first[queue_open]:
                    timer = np.inf
                else:
                    due = since[accepted[first[queue_open]]] + timeout
                    if timer == np.inf or due != timer_due:
                        timer_due = due
                        # The event loop's timers count in whole steps, rounded up. By the time it sets one, a little
                        # has passed, so a whole number of steps stays that.
                        timer = now + np.ceil((due - now) / timer_step - 1e-6) * timer_step if timer_step > 0.0 else due
        while running < limit and started < queue_head:
            processed = batch_sizes[started]
            for j in range(len(pads)):
                if pads[j] >= processed:
                    processed = pads[j]
                    break
            seconds = base + slope * processed**curve
            if sync > 0.0:
                awake = AWAKE if limit > 1 and running + 1 >= limit else 1.0
                seconds += awake * sync * processed**SYNC_CURVE
            if jitter > 0.0:
                seconds *= np.exp(jitter * noise[started, 0])
            ends[running] = virtual + seconds
            who[running] = started
            running += 1
            started += 1
        next_end = np.inf
        for i in range(running):
            next_end = min(next_end, ends[i])

    busy = in_use / now if now > 0.0 else 0.0
    growth = (at_end - at_middle) / max(n - n // 2, 1)
    return started, busy, growth
