import json
import re
from pathlib import Path

import jetkv_gateway
from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.embedded.server import NatsServer as Server
from tests.support.ports import free_port

PASSWORD = 'authorization { user: "app", password: "secret" }'


def test_check_says_what_it_found(finish, nats: NatsServer, bucket) -> None:
    code, output = finish("check", "--nats-url", nats.url)
    assert code == 0
    assert re.search(r"nats-server \d+\.\d+\.\d+", output)
    assert bucket.name in output
    assert output.strip().endswith("works")


def test_check_as_json_is_for_scripts(run, nats: NatsServer, bucket) -> None:
    code, output = run("check", "--nats-url", nats.url, "--json")
    report = json.loads(output)
    assert (code, report["exit_code"], report["missing"]) == (0, 0, [])
    assert bucket.name in report["buckets"]


def test_check_warns_of_a_bucket_and_still_works(run, nats: NatsServer, make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    code, output = run("check", "--nats-url", nats.url)
    assert code == 0
    warnings = output.partition("\nwarnings\n")[2]
    assert f"  {bucket.name}: memory_storage: kept in memory only" in warnings
    assert re.search(r"^  cluster +none, the server stands alone$", output, re.MULTILINE)
    assert output.strip().endswith("works")


def test_check_names_buckets_whose_expiry_markers_some_clients_do_not_know(
    run, nats: NatsServer, make_bucket
) -> None:
    made = make_bucket(ttl_seconds=300)
    plain = make_bucket(expiry_markers=False, key_ttl=False)
    code, output = run("check", "--nats-url", nats.url)
    json_code, document = run("check", "--nats-url", nats.url, "--json")
    marked = json.loads(document)["expiry_markers"]
    assert (code, json_code) == (0, 0)
    assert (made.name in marked) is made.info()["expiry_markers"]
    assert plain.name not in marked
    line = re.search(
        r"^  markers +(.*): a key that expires leaves a marker, which nats-py", output, re.MULTILINE
    )
    assert (made.name in marked) == (line is not None and made.name in line.group(1))


def test_check_as_json_has_the_warnings_of_each_bucket(
    run, nats: NatsServer, bucket, make_bucket
) -> None:
    weak = make_bucket(ttl_seconds=30)
    code, output = run("check", "--nats-url", nats.url, "--json")
    report = json.loads(output)
    (warning,) = report["warnings"][weak.name]
    assert warning["code"] == "short_duplicate_window"
    assert "an Idempotency-Key is known for 30 s only" in warning["message"]
    assert bucket.name not in report["warnings"]
    assert (code, report["exit_code"], report["clusters"]) == (0, 0, [])


def test_check_without_nats_is_3_try_again(run) -> None:
    code, output = run("check", "--nats-url", f"nats://127.0.0.1:{free_port()}")
    assert code == 3
    assert "is NATS running?" in output
    assert "Traceback" not in output


def test_check_with_wrong_credentials_is_5(run, tmp_path: Path) -> None:
    with Server(tmp_path / "nats", config=PASSWORD) as server:
        login = ("--nats-url", server.url, "--nats-user", "app")
        code, output = run("check", *login, JETKV_NATS_PASSWORD="wrong")
        assert code == 5
        assert "check --nats-user" in output
        assert (
            run(
                "check",
                "--nats-url",
                server.url,
                JETKV_NATS_USER="app",
                JETKV_NATS_PASSWORD="secret",
            )[0]
            == 0
        )


def test_check_shows_no_login_of_an_address(run, tmp_path: Path) -> None:
    with Server(tmp_path / "nats", config=PASSWORD) as server:
        for scheme, login, code in (
            ("nats", "app:secret", 0),
            ("nats", "app:secret-not", 5),
            ("tls", "app:secret", 6),
        ):
            url = server.url.replace("nats://", f"{scheme}://{login}@")
            found, output = run("check", "--nats-url", url)
            assert (found, "secret" in output) == (code, False), output
            assert f"{scheme}://127.0.0.1:{server.port}" in output


def test_check_takes_an_inbox_prefix_and_a_handshake_first(run, nats: NatsServer) -> None:
    assert run("check", "--nats-url", nats.url, "--nats-inbox-prefix", "_GATEWAY")[0] == 0
    code, output = run("check", "--nats-url", nats.url, "--nats-tls-first")
    assert (code, "unset nats_tls_first" in output) == (6, True)


def test_check_refuses_half_a_login(run, nats: NatsServer) -> None:
    code, output = run("check", "--nats-url", nats.url, JETKV_NATS_PASSWORD="p")
    assert (code, output.strip()) == (4, "jetkv: nats_password needs nats_user")


def test_check_without_jetstream_is_6(run, tmp_path: Path) -> None:
    accounts = 'accounts { A { users: [{ user: "a", password: "a" }] } }'
    with Server(tmp_path / "nats", config=accounts) as server:
        url = server.url.replace("nats://", "nats://a:a@")
        code, output = run("check", "--nats-url", url)
    assert code == 6
    assert "JetStream" in output


def test_the_version_is_that_of_the_distribution(finish) -> None:
    assert finish("--version") == (0, f"jetkv {jetkv_gateway.__version__}\n")
