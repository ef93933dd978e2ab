"""What a prediction waits for: the start of a process, and a process that is warm.

    python scripts/benchmark_startup.py [--pairs 7] [--json FILE]

The default head, trained for a few epochs, predicts 200 sentences that ship with qhead; their
embeddings are in the cache. As whole processes, in turn with ``python -c "import torch, sklearn"``,
the least that a program on those two can take: `qhead predict` reading a file. Then one `qhead
predict --follow`, which gets the 200 lines again and again: from the first byte written to the last
row read. Machines are noisy: read the ratio, and the least of the warm times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qhead import load_texts

ROWS = 200
QHEAD = [sys.executable, "-m", "qhead"]
FLOOR = [sys.executable, "-c", "import torch, sklearn"]


def seconds(command: list[str]) -> float:
    """Return how long a whole process takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def warm_seconds(model: Path, texts: list[str], repeats: int) -> list[float]:
    """Return how long a process that is warm takes for all sentences, each time."""
    lines = "".join(f"{text}\n" for text in texts).encode()
    pipe = subprocess.PIPE
    command = [*QHEAD, "predict", str(model), "--follow", "--quiet"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # the columns' names: the model is loaded
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            process.stdin.write(lines)
            process.stdin.flush()
            for _ in texts:
                process.stdout.readline()
            times.append(time.perf_counter() - start)
        process.stdin.close()
    return times


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    texts = list(load_texts("demo:support").texts[:ROWS])
    with tempfile.TemporaryDirectory() as folder:
        model, file = Path(folder) / "model", Path(folder) / "texts.txt"
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        train = [*QHEAD, "train", "demo:support", "--max-epochs", "3", "--out", str(model)]
        subprocess.run([*train, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        predict = [*QHEAD, "predict", str(model), str(file), "--quiet"]
        seconds(predict), seconds(FLOOR)  # the first ones read from the disk
        pairs = [(seconds(predict), seconds(FLOOR)) for _ in range(options.pairs)]
        first, *warm = warm_seconds(model, texts, 20)
    ours, floor = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"qhead predict, {ROWS} cached sentences, whole process: {ours:.2f} s (median)")
    print(f"import torch, sklearn, whole process: {floor:.2f} s (median)")
    print(f"ratio: {ratio:.2f} (median of {len(pairs)} pairs)")
    least, median = 1e3 * min(warm), 1e3 * statistics.median(warm)
    print(
        f"qhead predict --follow, warm, {ROWS} cached sentences: {least:.0f} ms (least of "
        f"{len(warm)}), {median:.0f} ms (median), first {1e3 * first:.0f} ms"
    )
    if options.json:
        record = {"pairs_seconds": pairs, "ratio": ratio, "first_seconds": first, "warm": warm}
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
