#!/usr/bin/env bash
# sbom.sh FOLDER WHEEL: writes beside the wheel, as CycloneDX, what its gateway is when it is installed:
# all packages with their versions and licences. FOLDER has the programs of requirements/dist.txt.
set -euo pipefail
bin=$1 wheel=$2
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"$bin/python" -m venv --without-pip "$environment"
"$bin/python" -m pip --python "$environment/bin/python" install -q -c requirements/run.txt "$wheel[gateway]"
list=${wheel%-py3-none-any.whl}.cdx.json
"$bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible -o "$list" \
  "$environment/bin/python"
echo "$list"
