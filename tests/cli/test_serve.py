import re
import signal
import threading
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.contract.test_metrics import figure
from tests.support.http import BUCKETS
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until


@pytest.fixture
def serve(start, nats: NatsServer):
    """`jetkv serve` on the shared nats-server, ready."""

    def serve(*arguments: str, **environment: str):
        process = start("serve", "--nats-url", nats.url, "--port", "0", *arguments, **environment)
        http = process.http()
        until(lambda: http.get("/ready").status == 200, "the gateway is ready")
        return process, http

    return serve


def test_serve_refuses_to_start_until_somebody_says_who_may_come_in(finish) -> None:
    code, output = finish("serve", "--port", "0")
    assert code == 4
    assert output.startswith("jetkv: choose who may call: --auth off (everybody) or --auth tokens")


def test_without_tokens_other_machines_are_let_in_only_when_asked_for(run) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        code, output = run("serve", "--port", "0", "--auth", "off", "--host", host)
        assert code == 4
        assert output.startswith(f"jetkv: with --auth off, everybody who reaches {host} may read")
        assert "--insecure" in output


def test_insecure_lets_a_gateway_without_tokens_listen_on_every_address(serve) -> None:
    process, _ = serve("--auth", "off", "--insecure", "--host", "127.0.0.1")
    assert process.stop() == 0


def test_tokens_need_a_file_or_the_bucket(run) -> None:
    code, output = run("serve", "--port", "0", "--auth", "tokens", "--no-token-bucket")
    assert (code, output) == (4, "jetkv: --auth tokens needs --auth-tokens FILE or token_bucket\n")


def test_a_token_file_that_is_not_there_is_one_clear_line(run) -> None:
    code, output = run("serve", "--port", "0", "--auth", "tokens", "--auth-tokens", "/none")
    assert code == 4
    assert output.startswith("jetkv: cannot read the token file /none")
    assert len(output.splitlines()) == 1


def test_a_token_opens_the_door(serve, tmp_path: Path) -> None:
    token = new_token()
    tokens = tmp_path / "tokens"
    tokens.write_text(token_line("app", token) + "\n")
    process, http = serve("--auth", "tokens", "--auth-tokens", str(tokens))
    assert http.get(BUCKETS).status == 401
    assert http.get(BUCKETS, Authorization=f"Bearer {token}").status == 200
    assert token not in process.output


def test_a_credentials_file_that_is_not_there_is_one_clear_line(run) -> None:
    code, output = run("serve", "--port", "0", "--auth", "off", "--nats-creds", "/none")
    assert (code, output) == (4, "jetkv: no such file: /none\n")


def test_tls_files_that_cannot_be_used_are_one_clear_line(run, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    code, output = run(
        "serve", "--port", "0", "--auth", "off", "--nats-tls-ca", str(tmp_path / "ca.pem")
    )
    assert code == 4
    assert output.startswith("jetkv: cannot use the TLS files for NATS")
    assert len(output.splitlines()) == 1


def test_serve_starts_without_nats_and_recovers_by_itself(start, own_nats: NatsServer) -> None:
    own_nats.start()
    url = own_nats.url
    own_nats.stop()
    http = start("serve", "--auth", "off", "--port", "0", "--nats-url", url).http()
    answer = http.get(BUCKETS)
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    own_nats.start()
    until(lambda: http.get(BUCKETS).status == 200, "the gateway has found NATS")


def test_buckets_of_the_command_line_exist_after_the_start(serve, bucket_name: str) -> None:
    _, http = serve("--auth", "off", "--bucket", f"{bucket_name},ttl_seconds=300,history=5")
    info = http.get(f"{BUCKETS}/{bucket_name}").json
    assert (info["ttl_seconds"], info["history"]) == (300, 5)


def test_a_bucket_that_exists_with_other_settings_is_left_alone(serve, bucket) -> None:
    _, http = serve("--auth", "off", "--bucket", f"{bucket.name},history=9")
    assert http.get(bucket.path).json["history"] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bad name", "invalid bucket name"),
        ("b,history=65", "history: must be from 1 to 64"),
        ("b,hsitory=5", "hsitory: no such setting"),
        ("b,ttl_seconds=soon", "ttl_seconds: Input should be a valid integer"),
        ("b,history", "'history' is not setting=value"),
    ],
)
def test_a_bucket_that_cannot_be_is_one_clear_line(run, text: str, complaint: str) -> None:
    code, output = run("serve", "--auth", "off", "--port", "0", "--bucket", text)
    assert code == 4
    assert complaint in output
    assert len(output.splitlines()) == 1


def test_a_toml_file_and_the_environment_are_settings_too(serve, tmp_path: Path) -> None:
    (tmp_path / "jetkv.toml").write_text(
        'auth = "off"\nlog_level = "debug"\n[[buckets]]\nname = "from-toml"\nhistory = 3\n'
    )
    _, http = serve("--config", str(tmp_path / "jetkv.toml"), JETKV_BUCKET_PREFIX="P_")
    assert [bucket["name"] for bucket in http.get(BUCKETS).json["buckets"]] == ["from-toml"]
    http.delete(f"{BUCKETS}/from-toml")


def test_several_workers_serve_one_address(serve, bucket) -> None:
    process, http = serve("--auth", "off", "--workers", "2")
    prefixes = set()

    def both_have_answered() -> bool:
        answer = http.get(bucket.path)
        assert answer.status in (200, 503), answer
        prefixes.add(answer.headers["x-request-id"].partition("-")[0])
        return len(prefixes) == 2

    until(both_have_answered, "two workers have answered")
    assert process.stop() == 0


def test_the_metrics_of_another_program_are_left_alone(finish, tmp_path: Path) -> None:
    code, output = finish("--version", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "none"))
    assert (code, output.split()[0]) == (0, "jetkv")


def test_several_workers_count_together(serve, nats: NatsServer, bucket) -> None:
    _, http = serve("--auth", "off", "--workers", "2", "--request-timeout", "0.2")
    before = figure(http, "jetkv_retries_total")
    nats.pause()
    answers = []
    reader = threading.Thread(target=lambda: answers.append(http.get(bucket.key("k"))))
    reader.start()
    reader.join(0.8)
    nats.resume()
    reader.join(10)
    counted = before + int(answers[0].headers["jetkv-retries"])
    assert counted > before
    assert {figure(http, "jetkv_retries_total") for _ in range(10)} == {counted}


def test_a_stop_lets_requests_in_flight_finish(serve, bucket) -> None:
    process, http = serve("--auth", "off")
    stopped = threading.Event()
    seen: list[int] = []

    def write() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            try:
                seen.append(http.put(f"{bucket.path}/keys/k{number}", "v").status)
            except OSError:
                return

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    until(lambda: len(seen) > 50, "writes flow")
    code = process.stop(signal.SIGTERM)
    stopped.set()
    for writer in writers:
        writer.join()
    assert code == 0
    assert set(seen) == {200}
    assert "Traceback" not in process.output


@pytest.mark.parametrize("command", [["serve", "--auth", "off"], ["dev"]], ids=["serve", "dev"])
def test_a_library_that_lacks_what_is_leaned_on_is_one_clear_line(start, command) -> None:
    process = start(*command, "--port", "0", first="import uvicorn; del uvicorn.Server.on_tick")
    assert process.popen.wait(30) == 1
    assert re.fullmatch(
        r"jetkv: uvicorn [\d.]+ has no uvicorn.server.Server.on_tick\(counter\) as it is needed "
        r'here: install "uvicorn>=0\.54,<0\.55"\n',
        process.output,
    )
