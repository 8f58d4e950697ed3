"""An app learns who asks, and never by which credential."""

import json

import pytest

from kit.gateway import OPEN


def seen(answer) -> dict:
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_an_app_learns_the_subject_and_never_the_credential(stack, idp):
    for words in [stack.session, ("--cookie", f"a=1; session={stack.token}; b=2")]:
        answer = stack.curl.ask(stack.url("/seen/here?x=%2f"), *words)
        told = seen(answer)
        assert (told["subject"], told["issuer"], told["authorization"]) == ("ada", idp.issuer, "")
        assert told["target"] == "/seen/here?x=%2f"
        assert told["cookie"] == ("" if words == stack.session else "a=1; b=2")


def test_no_app_sees_what_a_client_says_about_itself(stack):
    forged = ["X-Auth-Subject", "x-auth-subject", "X-Auth-Issuer", "X_Auth_Subject", "X.Auth.Subject"]
    words = [word for name in forged for word in ("--header", f"{name}: eve")]
    assert seen(stack.ask("/seen/here", *words))["subject"] == "ada"
    told = seen(stack.open("/seen/here", *words))
    assert (told["subject"], told["issuer"]) == ("", "")


def test_the_app_gets_the_request_as_it_was_and_what_the_gateway_adds(node_stack):
    words = ["--header", "X-Mine: a", "--header", "X-Mine: b", "--user-agent", "peer/1", "--header", "TE: trailers"]
    answer = node_stack.ask("/seen", *words)
    fields = seen(answer)["fields"]
    of = lambda name: [value for key, value in fields if key == name]  # noqa: E731
    assert of("x-mine") in (["a", "b"], ["a, b"])
    assert (of("user-agent"), of("host")) == (["peer/1"], ["portal.example"])
    assert (of("x-forwarded-for"), of("x-forwarded-host")) == (["127.0.0.1"], ["portal.example"])
    assert of("x-forwarded-proto") == [node_stack.gateway.front.scheme]
    assert of("x-request-id") == [answer.field("x-request-id")]
    assert of("x-auth-email") == ["ada@example.com"]
    assert of("te") == of("authorization") == []
    assert not any(node_stack.token in value for _, value in fields)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_nobody_gets_in_without_a_session(stack, method):
    words = ["--head"] if method == "HEAD" else ["--request", method]
    before = stack.gateway.counted("forwarded")
    answer = stack.curl.ask(stack.url("/seen/here"), *words)
    assert (answer.status, answer.field("www-authenticate")) == (401, "Bearer")
    assert stack.curl.ask(stack.url("/seen/here"), *words, "--user", "ada:secret").status == 401
    assert stack.gateway.counted("forwarded") == before


def test_a_credential_is_not_read_and_is_cut_out_where_no_session_is_asked_for(stack):
    told = seen(stack.open("/seen/here", "--header", "Authorization: Bearer a.b.c", "--cookie", "session=x; a=1"))
    assert (told["authorization"], told["cookie"], told["subject"]) == ("", "a=1", "")


def test_two_users_on_one_connection_are_two_users(node_stack, idp):
    grace = idp.token("grace")
    done = node_stack.curl.run(
        *("--header", f"Authorization: Bearer {node_stack.token}", node_stack.url("/seen")),
        *("--next", "--silent", *node_stack.curl.words()[4:], "--header", f"Authorization: Bearer {grace}"),
        *("--write-out", "%{num_connects}", node_stack.url("/seen")),
    )
    first, second = done.stdout.decode().split("}{")
    assert '"subject":"ada"' in first and '"subject":"grace"' in second
    assert done.stdout.endswith(b"}0"), "the second request took a connection of its own"
    assert OPEN not in done.stdout.decode()
