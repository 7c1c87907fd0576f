"""Which traces are recorded, by the standard variables of OpenTelemetry."""

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from jetkv_gateway.telemetry.sampling import SAMPLERS, Sampling
from jetkv_gateway.telemetry.tracing import TracingUnavailable, check_tracing

LOW, HIGH = 1, (1 << 128) - 1


def sampling(name: str, argument: str = "") -> Sampling:
    return Sampling.from_environment(
        {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
    )


@pytest.mark.parametrize(
    ("name", "decisions"),
    [
        # low id and high id without a parent, then with one that is recorded, and one that is not
        ("always_on", [True, True, True, True]),
        ("always_off", [False, False, False, False]),
        ("traceidratio", [True, False, False, False]),
        ("parentbased_always_on", [True, True, True, False]),
        ("parentbased_always_off", [False, False, True, False]),
        ("parentbased_traceidratio", [True, False, True, False]),
        ("", [True, True, True, False]),
    ],
)
def test_each_sampler_decides_as_the_specification_says(name: str, decisions: list[bool]) -> None:
    made = sampling(name, "0.5")
    asked = [(LOW, None), (HIGH, None), (HIGH, True), (HIGH, False)]
    assert [made.records(*one) for one in asked] == decisions
    assert made.problem == ""


@pytest.mark.parametrize("rate", ["0", "0.01", "0.3", "1"])
def test_a_ratio_takes_the_same_traces_as_the_sampler_of_other_services(rate: str) -> None:
    theirs, ours = TraceIdRatioBased(float(rate)), sampling("traceidratio", rate)
    for number in range(2000):
        trace_id = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)
        decided = theirs.should_sample(None, trace_id, "").decision.is_sampled()
        assert ours.records(trace_id, None) is decided


@pytest.mark.parametrize(
    ("name", "argument", "said"),
    [
        ("jaeger_remote", "", "OTEL_TRACES_SAMPLER=jaeger_remote"),
        ("traceidratio", "many", "OTEL_TRACES_SAMPLER_ARG=many"),
        ("traceidratio", "1.5", "OTEL_TRACES_SAMPLER_ARG=1.5"),
        ("traceidratio", "nan", "OTEL_TRACES_SAMPLER_ARG=nan"),
    ],
)
def test_what_cannot_be_used_is_named_and_everything_is_recorded(
    name: str, argument: str, said: str
) -> None:
    made = sampling(name, argument)
    assert said in made.problem
    assert made.records(HIGH, None)


def test_every_name_of_the_list_is_known() -> None:
    assert all(sampling(name).problem == "" for name in SAMPLERS)


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_an_exporter_that_the_gateway_does_not_have_is_named(variables: dict[str, str]) -> None:
    with pytest.raises(TracingUnavailable, match=next(iter(variables.values()))):
        check_tracing(variables)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin"},
    ],
)
def test_other_variables_can_be_used(variables: dict[str, str]) -> None:
    check_tracing(variables)
