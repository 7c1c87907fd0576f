"""The figures of `/metrics`, as Prometheus's own parsers read them."""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support.http import Http

__all__ = ["OPENMETRICS", "Figures", "figures", "read_openmetrics", "read_text"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""By name and sorted labels of the sample."""


def figures(
    http: Http, accept: str = "", read: Callable[[str], Iterable[Metric]] = read_text
) -> Figures:
    """Return all samples of `/metrics`."""
    answer = http.get("/metrics", **({"accept": accept} if accept else {}))
    assert answer.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(answer.body.decode())
        for sample in family.samples
    }


def value(samples: Figures, name: str, **labels: str) -> float:
    """Return one sample, which must be there."""
    return samples[name, tuple(sorted(labels.items()))]
