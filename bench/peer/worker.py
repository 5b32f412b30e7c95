"""What every peer of a benchmark is: a process that reads one JSON request per line from stdin and answers with one JSON line on stdout.

Imported before the libraries that are measured: from then on only answers reach stdout, and what else is printed goes to stderr.
"""

import json
import os
import resource
import sys
import time

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

# Threads of the peer, the same number as ours.
THREADS = int(sys.argv[1])


def serve(answer):
    """Answers until stdin ends; `answer` maps a request to a dictionary, or to None if there is nothing to tell."""
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line)) or {}
        except Exception as error:  # noqa: BLE001 - every failure is the answer
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


def unknown(request):
    raise ValueError(f"unknown request {request['do']}")


def seconds(step, count):
    """Times of `count` calls, as an answer."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"seconds": times}


def peak_memory():
    """MiB. Linux counts the parent's memory at the start into `ru_maxrss`, so the process's own mark is read there."""
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
