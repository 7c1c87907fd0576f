"""The example of the page of traces, against a receiver on loopback."""

import re

import pytest
import yaml

from jetkv.testing import LocalNats
from jetkv_gateway.settings import Settings
from tests.docs.test_examples import ROOT, blocks
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.otlp import receiver
from tests.support.traces import PARENT, SPAN, TRACE

PAGE = ROOT / "docs" / "traces.md"


def test_the_variables_of_the_page_record_what_callers_record(
    nats: LocalNats, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [block for block in blocks(PAGE, "sh") if "OTEL_" in block]
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", block, re.MULTILINE))
    with receiver() as collector:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://localhost:")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with running_gateway(nats.url) as http:
            for _ in range(20):
                http.get(bucket.key("k"))
            http.get(bucket.key("k"), traceparent=PARENT)
        theirs = [span for _, span in collector.spans if span.trace_id.hex() == TRACE]
        assert SPAN in {span.parent_span_id.hex() for span in theirs}
        others = {span.trace_id for _, span in collector.spans} - {bytes.fromhex(TRACE)}
        assert len(others) < 20, "one of a hundred is recorded"


def test_the_values_of_the_chart_are_known_to_it() -> None:
    (block,) = blocks(PAGE, "yaml")
    shown = yaml.safe_load(block)
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "jetkv" / "values.yaml").read_text())
    assert set(shown) <= set(values)
    assert set(shown["networkPolicy"]) <= set(values["networkPolicy"])
    assert set(shown["settings"]) <= set(Settings.model_fields)
    in_shell = "".join(blocks(PAGE, "sh"))
    for variable in shown["extraEnv"]:
        assert f"export {variable['name']}=" in in_shell
