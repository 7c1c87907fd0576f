"""Run with the Python of an environment: starts `jetkv dev` and uses it by the SDK.

It prints the versions of Python, of the SDK and of the running gateway.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

import jetkv


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("jetkv")), "dev", "--port", "0"]
        dev = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
        )
        try:
            used(dev)
        finally:
            dev.terminate()
            rest, _ = dev.communicate(timeout=30)
    assert dev.returncode == 0, rest


def used(dev: "subprocess.Popen[str]") -> None:
    assert dev.stdout is not None
    lines = []
    for line in dev.stdout:
        lines.append(line)
        if found := re.search(r"gateway +(http://\S+)", line):
            break
    else:
        raise SystemExit("".join(lines))
    with urlopen(f"{found[1]}/health") as answer:
        served = json.load(answer)["version"]
    with jetkv.Client(found[1]) as client:
        client.kv().create_bucket("b", exist_ok=True)
        bucket = client.kv().bucket("b")
        bucket.put("user:1", {"n": 1})
        assert bucket.modify("user:1", lambda value: {"n": value["n"] + 1}).value == {"n": 2}
        for update in bucket.watch("user:*", snapshot=True):
            assert update.value == {"n": 2}
            break
    print(platform.python_version(), jetkv.__version__, served)


if __name__ == "__main__":
    main()
