"""The Helm chart: linted and rendered by Helm's own engine, and checked by Kubernetes' schemas."""

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from jetkv import __version__
from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings, load
from tests.deploy.conftest import DEPLOY

CHART = DEPLOY / "helm" / "jetkv"
Values = dict[str, Any]
Objects = dict[str, Any]
KUBERNETES = ["1.27", kubernetes_validate.latest_version()]
OF_OTHERS = {"HTTPRoute", "PrometheusRule", "ServiceMonitor"}
"""Their schemas come with other products, and not with Kubernetes."""

LINE = "app-1:" + "0" * 64 + " *:*"
LEAST: Values = {"auth": {"tokens": [LINE]}}
OFF: Values = {"auth": {"mode": "off"}}
ALL: Values = {
    "image": {"repository": "registry.example/jetkv", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "replicaCount": 3,
    "nats": {
        "urls": ["tls://nats-0:4222", "tls://nats-1:4222"],
        "credentials": {"existingSecret": "nats"},
        "tls": {"existingSecret": "nats-tls", "cert": "tls.crt", "key": "tls.key"},
    },
    "auth": {"existingSecret": "tokens"},
    "settings": {
        "workers": 2,
        "max_held_bytes": 67108864,
        "request_timeout": 7.5,
        "limit_loopback": True,
        "log_level": "debug",
        "trusted_proxies": ["10.0.0.0/8", "192.168.0.1"],
    },
    "buckets": ["carts", "cache,ttl_seconds=300"],
    "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "hosts": ["kv.example.org"],
        "tls": [{"secretName": "kv-tls", "hosts": ["kv.example.org"]}],
    },
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "hostnames": ["kv.example.net"],
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"team": "web"}}}],
        "natsTo": [{"podSelector": {"matchLabels": {"app": "nats"}}}],
        "extraEgress": [{"ports": [{"port": 4317, "protocol": "TCP"}]}],
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "tokenSecret": {"name": "metrics"},
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "platform"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "extraEnv": [{"name": "JETKV_NATS_USER", "value": "gateway"}],
    "extraVolumes": [{"name": "own", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "own", "mountPath": "/own"}],
}
SETS = {"least": LEAST, "without tokens": OFF, "all": ALL}


@pytest.fixture(scope="module")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(CHART) as loaded:
        yield loaded


def rendered(chart: helm.Chart, values: Values) -> Objects:
    """Return the objects by kind; no kind comes twice."""
    files = chart.render(values, name="kv", namespace="data")
    found = [
        thing
        for name, text in files.items()
        if not name.endswith(".txt")
        for thing in yaml.safe_load_all(text)
        if thing
    ]
    objects = {thing["kind"]: thing for thing in found}
    assert len(objects) == len(found)
    return objects


def variables(objects: Objects) -> dict[str, str]:
    return objects["ConfigMap"]["data"]


def pod(objects: Objects) -> dict[str, Any]:
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_lint_finds_nothing(values: Values) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [found["error"] for found in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_kubernetes_knows_every_field(chart: helm.Chart, values: Values, version: str) -> None:
    for kind, thing in rendered(chart, values).items():
        if kind not in OF_OTHERS:
            kubernetes_validate.validate(thing, version, strict=True)


def test_each_part_is_rendered_when_it_is_asked_for(chart: helm.Chart) -> None:
    always = {"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}
    always |= {"ServiceAccount"}
    assert set(rendered(chart, LEAST)) == always | {"Secret"}
    assert set(rendered(chart, ALL)) == (
        always | {"HTTPRoute", "Ingress", "PrometheusRule", "ServiceMonitor"}
    )
    none = {name: {"enabled": False} for name in ("networkPolicy", "podDisruptionBudget")}
    assert set(rendered(chart, {**OFF, **none, "serviceAccount": {"create": False}})) == {
        "ConfigMap",
        "Deployment",
        "Service",
    }


def test_the_alerts_are_those_of_the_folder_for_prometheus(chart: helm.Chart) -> None:
    rule = rendered(chart, ALL)["PrometheusRule"]
    source = (DEPLOY / "monitoring" / "rules" / "jetkv.yml").read_text()
    assert rule["spec"] == yaml.safe_load(source)
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_a_single_pod_has_no_disruption_budget_which_would_block_drains(
    chart: helm.Chart,
) -> None:
    assert "PodDisruptionBudget" not in rendered(chart, {**LEAST, "replicaCount": 1})


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_gateway_takes_the_settings_as_they_are_meant(
    chart: helm.Chart, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = variables(rendered(chart, values))
    assert unknown_variables(given, Settings.model_fields) == []
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load({}, None)
    assert settings.port == 9123
    assert settings.auth == (values["auth"].get("mode", "tokens"),)
    for name, value in values.get("settings", {}).items():
        found = getattr(settings, name)
        assert [str(one) for one in found] == value if isinstance(value, list) else found == value
    names = [spec.name for spec in settings.bucket_specs()]
    assert names == [bucket.partition(",")[0] for bucket in values.get("buckets", [])]


def test_without_tokens_it_answers_under_its_own_names(chart: helm.Chart) -> None:
    hosts = {"enabled": True, "hosts": ["kv.example.org"]}
    given = variables(rendered(chart, {**OFF, "ingress": hosts}))
    assert given["JETKV_ALLOWED_HOSTS"] == "kv-jetkv.data,*.svc,*.svc.cluster.local,kv.example.org"
    own = variables(rendered(chart, {**OFF, "settings": {"allowed_hosts": ["a.b"]}}))
    assert own["JETKV_ALLOWED_HOSTS"] == "a.b"
    assert "JETKV_ALLOWED_HOSTS" not in variables(rendered(chart, LEAST))


def test_every_file_that_a_setting_names_is_mounted(chart: helm.Chart) -> None:
    objects = rendered(chart, ALL)
    files = [value for value in variables(objects).values() if value.startswith("/")]
    folders = {mount["mountPath"] for mount in pod(objects)["containers"][0]["volumeMounts"]}
    assert len(files) == 5
    assert {file.rpartition("/")[0] for file in files} | {"/own"} == folders
    named = {volume["name"]: volume for volume in pod(objects)["volumes"]}
    assert {
        name: volume["secret"]["secretName"] for name, volume in named.items() if name != "own"
    } == {"tokens": "tokens", "nats": "nats", "tls": "nats-tls"}


def test_pods_fit_the_restricted_standard_of_pod_security(chart: helm.Chart) -> None:
    spec = pod(rendered(chart, LEAST))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (LEAST, 30),
        ({**LEAST, "shutdownDelaySeconds": 20}, 45),
        ({**LEAST, "settings": {"request_timeout": 7.5}}, 33),
        ({**LEAST, "settings": {"request_timeout": 1}}, 30),
        ({**LEAST, "terminationGracePeriodSeconds": 90}, 90),
    ],
)
def test_kubernetes_waits_for_as_long_as_a_stop_takes(
    chart: helm.Chart, values: Values, seconds: int
) -> None:
    assert pod(rendered(chart, values))["terminationGracePeriodSeconds"] == seconds


def test_a_change_of_settings_starts_new_pods_and_one_of_tokens_does_not(
    chart: helm.Chart,
) -> None:
    def sums(values: Values) -> str:
        template = rendered(chart, values)["Deployment"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert sums(LEAST) != sums({**LEAST, "buckets": ["a"]})
    assert sums(LEAST) == sums({"auth": {"tokens": [LINE, LINE.replace("app-1", "app-2")]}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**LEAST, "replicas": 3}, "replicas"),
        ({"auth": {"tokens": ["app-1"]}}, "tokens"),
        ({**LEAST, "nats": {"urls": ["nats:4222"]}}, "urls"),
        ({**LEAST, "settings": {"nats_url": "nats://a"}}, "nats_url"),
        ({**LEAST, "ingress": {"enabled": True}}, "hosts"),
        ({**LEAST, "serviceMonitor": {"enabled": True}}, "serviceMonitor.tokenSecret.name"),
        ({**LEAST, "nats": {"tls": {"existingSecret": "t", "cert": "c"}}}, "nats.tls.key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_cannot_work_are_refused_and_named(
    chart: helm.Chart, values: Values, said: str
) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(said)):
        chart.render(values, name="kv", namespace="data")


def leaves(values: Values, path: str = "") -> Iterator[str]:
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and value and here != "resources":
            yield from leaves(value, f"{here}.")
        else:
            yield here


def of_schema(schema: Values, path: str = "") -> Iterator[str]:
    for name, value in schema["properties"].items():
        here = f"{path}{name}"
        if "properties" in value:
            yield from of_schema(value, f"{here}.")
        else:
            yield here


def test_every_value_stands_in_the_readme_and_in_the_schema(chart: helm.Chart) -> None:
    known = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    rows = re.findall(r"^\| `([\w.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == known
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(of_schema(schema)) - {"global"} == known


def test_it_brings_the_version_of_this_repository(chart: helm.Chart) -> None:
    assert chart.metadata["appVersion"] == __version__


def test_the_links_of_its_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)", (CHART / "README.md").read_text()):
        assert (CHART / target).is_file(), target
