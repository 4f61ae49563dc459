"""Run kvlint on a log and print its totals as JSON; runs in the peer's environment.

python kvlint_run.py LOG TOKENIZER
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

log, tokenizer = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    report = Path(folder) / "report.json"
    kvlint = Path(sys.executable).with_name("kvlint")
    subprocess.run(
        [kvlint, "analyze", log, "--model", tokenizer, "--engine", "sglang", "--json", report],
        check=True,
        stdout=sys.stderr,
    )
    requests = json.loads(report.read_text())["sims"][0]["per_request"]
totals = {
    name: sum(request[name] for request in requests) for name in ("prompt_tokens", "cached_tokens")
}
print(json.dumps(totals))
