"""Admission's rules: only Twilio and this machine come in, and a token opens what it was made for.

The judge of signatures is the `twilio` package itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from twilio.request_validator import RequestValidator

from fastbridge import admission
from fastbridge.admission import SignatureCheck, TokenOffice, Verdict, is_local_peer, sign
from fastbridge.config import Settings
from fastbridge.setting_rules import ConfigError

CALM = settings(deadline=None)  # a busy machine is no bug
TOKEN = "12345"
PUBLIC = "https://bridge.example.com"
SID = "CA" + "1" * 32
PARAMS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675310"),
    ("Digits", "1234"),
    ("From", "+14158675310"),
    ("To", "+18005551212"),
]
OTHER = [(name, value.replace("+14158675310", "+12349013030")) for name, value in PARAMS]
VECTORS: list[tuple[str, list[tuple[str, str]], str]] = [
    ("https://example.com/myapp.php?foo=1&bar=2", PARAMS, "L/OH5YylLD5NRKLltdqwSvS0BnU="),
    ("https://mycompany.com/myapp.php?foo=1&bar=2", PARAMS, "GvWf1cFY/Q7PnoempGyD5oXAezc="),
    ("https://mycompany.com/myapp.php?foo=1&bar=2", OTHER, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
    ("wss://bridge.example.com/twilio/media", [], "hGVJmeOLwZmJhPeWsyRDIvgH8Zc="),
    ("wss://bridge.example.com/twilio/media/", [], "K34XpNWz3mSbbFwtWeDWONZkGSc="),
]


def signed(signature: str, settings: str | None = None) -> dict[str, str]:
    """Return request headers that carry a signature."""
    headers = {"Host": "evil.example", "x-twilio-signature": signature}
    if settings is not None:
        headers["X-Twilio-Webhooks-Signature-Settings"] = settings
    return headers


def refused(reason: admission.Reason) -> Verdict:
    """Return the verdict that refuses with this reason."""
    return Verdict(ok=False, reason=reason)


@pytest.mark.parametrize(("url", "params", "signature"), VECTORS)
def test_published_vectors_are_met(url: str, params: list[tuple[str, str]], signature: str) -> None:
    """The five known signatures come out, and the checks accept them."""
    assert sign(TOKEN, url, params) == signature
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    check = SignatureCheck(TOKEN, f"https://{host}")
    if scheme == "wss":
        # Both slash forms are accepted for the path without the slash.
        assert check.check_upgrade("/twilio/media", signed(signature)).ok
    else:
        assert check.check_webhook(f"/{path}", params, signed(signature)).ok
        assert not check.check_webhook(f"/{path}x", params, signed(signature)).ok


class Many(dict[str, list[str]]):
    """Repeated parameters, in the shape the judge reads."""

    def getall(self, name: str) -> list[str]:
        """Return all values of a name."""
        return self[name]


NAMES = st.text(min_size=1, max_size=8)
VALUES = st.text(max_size=12)
PATHS = st.lists(st.text(max_size=6).map(lambda text: quote(text, safe="", errors="ignore"))).map(
    lambda parts: "/" + "/".join(parts)
)
QUERIES = st.dictionaries(NAMES, VALUES, max_size=3).map(
    lambda query: "?" + urlencode(query) if query else ""
)


@CALM
@given(
    public=st.sampled_from([PUBLIC, PUBLIC + "/", PUBLIC + ":443", "https://A.example/pre/fix"]),
    path=PATHS,
    query=QUERIES,
    params=st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), max_size=4),
    algorithm=st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]),
    with_port=st.booleans(),
    spoil=st.sampled_from(["", "url", "params", "key"]),
)
def test_webhook_verdicts_agree_with_the_twilio_package(  # noqa: PLR0917
    public: str,
    path: str,
    query: str,
    params: dict[str, list[str]],
    algorithm: str,
    with_port: bool,
    spoil: str,
) -> None:
    """For any URL, repeated parameters, algorithm and port form, both say the same."""
    judge = RequestValidator("spoilt" if spoil == "key" else TOKEN)
    url = public.rstrip("/") + path + query
    base = url
    if with_port and ":443" not in public:
        host, slash, tail = url.removeprefix("https://").partition("/")
        base = f"https://{host}:443{slash}{tail}"
    signature = judge.compute_signature(
        base + ("x" if spoil == "url" else ""),
        Many({**params, "spoilt": ["1"]} if spoil == "params" else params),
        algorithm,
    )
    pairs = [(name, value) for name, values in params.items() for value in values]
    settings = "key=webhooks_sharedkey_1, algorithm=" + algorithm
    check = SignatureCheck(TOKEN, public, TOKEN)
    verdict = check.check_webhook(path + query, pairs, signed(signature, settings))
    expected = RequestValidator(TOKEN).validate(url, Many(params), signature, algorithm)
    assert verdict.ok == expected
    assert verdict.ok == (not spoil or (spoil == "params" and params.get("spoilt") == ["1"]))


@CALM
@given(path=PATHS, port=st.sampled_from(["", ":443", ":80"]), slash=st.sampled_from(["", "/"]))
def test_upgrade_accepts_every_form_of_its_wss_address(path: str, port: str, slash: str) -> None:
    """A stream's signature over wss://, with or without port and final slash, is accepted."""
    bare = path.rstrip("/") or "/a"
    check = SignatureCheck(TOKEN, PUBLIC)
    signature = RequestValidator(TOKEN).compute_signature(
        f"wss://bridge.example.com{port}{bare}{slash}", {}
    )
    assert check.check_upgrade(bare, signed(signature)).ok
    assert check.check_upgrade(bare + "b", signed(signature)) == refused("signature_wrong")


def test_json_body_is_covered_by_its_hash() -> None:
    """A body that is no form must be named by its SHA-256 in the signed query."""
    body = '{"CallSid":"CA1"}'
    path = f"/incoming-call?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    signature = sign(TOKEN, PUBLIC + path)
    assert RequestValidator(TOKEN).validate(PUBLIC + path, body, signature)
    check = SignatureCheck(TOKEN, PUBLIC)
    headers = signed(signature)
    assert check.check_webhook(path, body.encode(), headers).ok
    assert check.check_webhook(path, b"{}", headers) == refused("body_hash_wrong")
    assert check.check_webhook(path, b"", headers) == refused("body_hash_wrong")
    assert check.check_webhook("/incoming-call", body.encode(), headers) == refused(
        "body_hash_missing"
    )
    assert check.check_webhook("/a", b"", signed(sign(TOKEN, PUBLIC + "/a"))).ok


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "signature_missing"),
        ({"X-Twilio-Signature": ""}, "signature_missing"),
        (
            CIMultiDict([("X-Twilio-Signature", "a"), ("X-Twilio-Signature", "b")]),
            "signature_missing",
        ),
        (signed("a"), "signature_wrong"),
        (signed("\udcff\u20ac"), "signature_wrong"),
        (signed("a", "key=x,algorithm=HMAC_MD5"), "signature_algorithm_unknown"),
        (signed("a", "key=x,algorithm=HMAC_SHA256"), "shared_key_missing"),
        (signed("a", "key=x"), "signature_wrong"),
    ],
)
def test_bad_signatures_are_refused_with_their_reason(
    headers: Mapping[str, str], reason: admission.Reason
) -> None:
    """Each way to be unsigned has its own reason, and none raises."""
    verdict = SignatureCheck(TOKEN, PUBLIC).check_webhook("/a", [("\ud800", "b")], headers)
    assert verdict == refused(reason)


def test_auth_token_does_not_stand_in_for_the_shared_key() -> None:
    """With a SharedKey configured HMAC-SHA256 counts only under it, HMAC-SHA1 under the token."""
    check = SignatureCheck(TOKEN, PUBLIC, "shared")
    settings = "key=k,algorithm=HMAC_SHA256"
    for key, algorithm, header, right in [
        ("shared", "HMAC_SHA256", settings, True),
        (TOKEN, "HMAC_SHA256", settings, False),
        ("shared", "HMAC_SHA1", None, False),
        (TOKEN, "HMAC_SHA1", None, True),
    ]:
        signature = sign(key, PUBLIC + "/a", (), algorithm)
        assert check.check_webhook("/a", (), signed(signature, header)).ok is right


def test_check_needs_token_and_public_url() -> None:
    """Without Auth Token or https public URL there is nothing to check by: told at start."""
    with pytest.raises(ConfigError, match="TWILIO_AUTH_TOKEN"):
        SignatureCheck(None, PUBLIC)
    with pytest.raises(ConfigError, match="FASTBRIDGE_PUBLIC_URL is unset"):
        SignatureCheck(TOKEN, None)
    with pytest.raises(ConfigError, match="http://x"):
        SignatureCheck(TOKEN, "http://x")


def test_a_token_opens_its_own_call_once(tmp_path: Path) -> None:
    """A token is good for its CallSid, once, within its time; every other use has its reason."""
    office = TokenOffice(b"k" * 32, tmp_path / "used", seconds=60)
    token = office.mint(SID, 1000.5)
    assert office.redeem(token, "CA" + "2" * 32, 1001) == refused("token_wrong")
    assert office.redeem(token, SID, 1001).ok
    assert office.redeem(token, SID, 1002) == refused("token_used")
    late = office.mint(SID, 1000.5)
    assert office.redeem(late, SID, 1060).ok
    assert office.redeem(office.mint(SID, 1000.5), SID, 1060.5) == refused("token_expired")
    assert office.redeem(None, SID, 1001) == refused("token_missing")
    assert office.redeem("", SID, 1001) == refused("token_missing")
    assert len(token) <= admission.TOKEN_CHARS_MAX
    assert TokenOffice(b"x" * 32, tmp_path / "used").redeem(token, SID, 1001) == refused(
        "token_wrong"
    )


@CALM
@given(st.text(max_size=140), st.text(max_size=6))
def test_forged_tokens_never_pass(
    tmp_path_factory: pytest.TempPathFactory, text: str, call_sid: str
) -> None:
    """No text that was not minted here is redeemed, and none leaves a file."""
    store = tmp_path_factory.getbasetemp() / "forged"
    office = TokenOffice(b"k" * 32, store)
    token = office.mint(SID, 0)
    for forged in (text, text + token, token + text, token[:-1], token.replace("v1.60", "v1.99")):
        if forged != token:
            assert not office.redeem(forged, SID, 1).ok
    if call_sid != SID:
        assert not office.redeem(token, call_sid, 1).ok
    assert list(store.iterdir()) == []


def test_a_token_may_open_several_streams_when_set(tmp_path: Path) -> None:
    """With calls_max 3 a token opens three streams, not four."""
    office = TokenOffice(b"k" * 32, tmp_path / "used", calls_max=3)
    token = office.mint(SID, 0)
    assert [office.redeem(token, SID, 1).ok for _ in range(4)] == [True, True, True, False]


def _redeem_elsewhere(store: Path, token: str) -> bool:
    return TokenOffice(b"k" * 32, store).redeem(token, SID, 1).ok


def test_workers_share_what_was_used(tmp_path: Path) -> None:
    """Of several processes that redeem one token exactly one succeeds."""
    store = tmp_path / "used"
    token = TokenOffice(b"k" * 32, store).mint(SID, 0)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_redeem_elsewhere, [store] * 6, [token] * 6))
    assert sorted(results) == [False] * 5 + [True]


def test_store_is_private_pruned_and_leaves_strangers_alone(tmp_path: Path) -> None:
    """Records vanish one lifetime after their token; other files in the directory stay."""
    store = tmp_path / "a" / "used"
    office = TokenOffice(b"k" * 32, store, seconds=60)
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    (store / "notes.txt").write_text("mine")
    assert office.redeem(office.mint(SID, 0), SID, 1).ok
    assert len(list(store.iterdir())) == 2
    assert office.redeem(office.mint(SID, 119), SID, 119).ok
    assert len(list(store.iterdir())) == 3
    assert office.redeem(office.mint(SID, 200), SID, 200).ok
    names = sorted(path.name for path in store.iterdir())
    assert names[0] == "notes.txt"
    assert len(names) == 3


def test_a_full_store_refuses_until_records_expire(tmp_path: Path) -> None:
    """At its bound the store takes no call, because reuse could not be seen; later it does."""
    office = TokenOffice(b"k" * 32, tmp_path / "used", seconds=60, entries_max=2)
    assert [office.redeem(office.mint(SID, 0), SID, 1).reason for _ in range(3)] == [
        "ok",
        "ok",
        "token_store_full",
    ]
    assert office.redeem(office.mint(SID, 500), SID, 500).ok


def test_a_clock_set_back_does_not_stop_pruning(tmp_path: Path) -> None:
    """When the wall clock jumps back the store still prunes and counts by the new clock."""
    office = TokenOffice(b"k" * 32, tmp_path / "used", seconds=60, entries_max=1)
    assert office.redeem(office.mint(SID, 10_000), SID, 10_000).ok
    for path in (tmp_path / "used").iterdir():
        path.unlink()
    assert office.redeem(office.mint(SID, 0), SID, 0).ok


def test_unusable_directories_are_told_at_start(tmp_path: Path) -> None:
    """A file, a link, an open directory or one that cannot be made is a ConfigError by name."""
    plain = tmp_path / "file"
    plain.write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o755)
    for path in (plain, link, wide, plain / "below", Path("/proc/none/used")):
        with pytest.raises(ConfigError, match="FASTBRIDGE_TOKEN_STORE_DIR"):
            TokenOffice(b"k", path)


def test_a_store_that_breaks_later_refuses(tmp_path: Path) -> None:
    """When the directory vanishes during work tokens are refused and nothing is raised."""
    store = tmp_path / "used"
    office = TokenOffice(b"k" * 32, store)
    store.rmdir()
    assert office.redeem(office.mint(SID, 0), SID, 1) == refused("token_store_failed")


def test_secret_is_given_derived_or_random() -> None:
    """A given secret is used; else the Auth Token gives the same one everywhere; else random."""
    given_one = Settings(token_secret="x" * 16, twilio_auth_token="t")
    assert admission.token_secret(given_one) == b"x" * 16
    derived = Settings(twilio_auth_token="t")
    assert admission.token_secret(derived) == admission.token_secret(derived) != b"t"
    assert admission.token_secret(Settings()) != admission.token_secret(Settings())
    assert admission.token_store_dir(Settings(token_store_dir="/a/b")) == Path("/a/b")
    assert str(os.getuid()) in admission.token_store_dir(Settings()).name


LOCAL = {"Host": "localhost:5050", "User-Agent": "x"}


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5050", "[::1]:5050", "LOCALHOST:1"])
def test_programs_on_this_machine_are_local(remote: str, host: str) -> None:
    """Loopback address and loopback Host, with or without a loopback Origin, is local."""
    assert is_local_peer(remote, {"Host": host})
    assert is_local_peer(remote, {"Host": host, "Origin": "http://localhost:8000"})


@pytest.mark.parametrize(
    ("remote", "headers"),
    [
        ("10.0.0.1", LOCAL),
        ("::ffff:10.0.0.1", LOCAL),
        ("::2", LOCAL),
        (None, LOCAL),
        ("", LOCAL),
        ("localhost", LOCAL),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"Host": "rebound.example"}),
        ("127.0.0.1", {"Host": "localhost.evil.example"}),
        ("127.0.0.1", {"Host": "0.0.0.0:5050"}),
        ("127.0.0.1", {"Host": "user@localhost"}),
        ("127.0.0.1", {"Host": "localhost:port"}),
        ("127.0.0.1", {"Host": "localhost/x"}),
        ("127.0.0.1", {"Host": "[::1"}),
        ("127.0.0.1", {"Host": "local\thost"}),
        ("127.0.0.1", CIMultiDict([("Host", "localhost"), ("Host", "evil.example")])),
        ("127.0.0.1", LOCAL | {"Origin": "https://evil.example"}),
        ("127.0.0.1", LOCAL | {"Origin": "null"}),
        ("127.0.0.1", LOCAL | {"Origin": ""}),
        ("127.0.0.1", LOCAL | {"Origin": "file://localhost"}),
        *[
            ("127.0.0.1", LOCAL | {name: "1"})
            for name in [
                "X-Forwarded-For",
                "x-forwarded-proto",
                "X-Forwarded-Host",
                "Forwarded",
                "X-Real-IP",
                "CF-Connecting-IP",
                "CF-Ray",
                "Ngrok-Auth-User-Email",
                "Ngrok-Trace-Id",
                "Via",
                "X-Original-Host",
                "Tailscale-User-Login",
            ]
        ],
    ],
)
def test_strangers_are_not_local(remote: str | None, headers: Mapping[str, str]) -> None:
    """Other addresses, tunnels, rebound names and foreign pages are not this machine."""
    assert not is_local_peer(remote, headers)


def test_stream_address_comes_from_the_public_url_or_a_local_host() -> None:
    """The stream is at the public URL; without one only a loopback Host may be echoed."""
    public = Settings(public_url="https://a.example/pre/")
    assert admission.stream_url(public, "evil.example") == "wss://a.example/pre/media-stream"
    assert admission.stream_url(Settings(), "[::1]:9") == "ws://[::1]:9/media-stream"
    with pytest.raises(ValueError, match=r"evil\.example.*FASTBRIDGE_PUBLIC_URL"):
        admission.stream_url(Settings(), "evil.example")


@CALM
@given(text=st.text(max_size=40), token=st.text(max_size=40))
def test_twiml_is_xml_whatever_it_carries(text: str, token: str) -> None:
    """Any token and any sentence come out of an XML parser as they went in, or are left out."""
    legal = "".join(one for one in text if one.isprintable())
    settings = Settings(after_stream="say", after_stream_value=legal)
    answer = admission.twiml("wss://a.example/?a=1&b=<2>", token, settings)
    root = ET.fromstring(answer.encode("utf-8"))  # noqa: S314 - our own text
    stream = root.find("Connect/Stream")
    assert stream is not None
    assert stream.get("url") == "wss://a.example/?a=1&b=<2>"
    said = root.findtext("Say")
    assert said == (legal or "Goodbye.")
    if token and token.isprintable():
        assert [one.attrib for one in stream] == [{"name": "token", "value": token}]


@pytest.mark.parametrize(
    ("kind", "value", "tail"),
    [
        ("say", "", "<Say>Goodbye.</Say>"),
        ("dial", "+15551234567", "<Dial>+15551234567</Dial>"),
        (
            "redirect",
            "https://a.example/x?a=1&b=2",
            '<Redirect method="POST">https://a.example/x?a=1&amp;b=2</Redirect>',
        ),
        ("hangup", "", "<Hangup/>"),
    ],
)
def test_what_follows_the_stream_is_in_the_twiml(kind: str, value: str, tail: str) -> None:
    """After </Connect> stands what the settings say, and a local peer gets no token."""
    answer = admission.twiml(
        "ws://localhost/media-stream",
        None,
        Settings(after_stream=kind, after_stream_value=value),
    )
    assert answer.endswith(
        f'<Stream url="ws://localhost/media-stream"></Stream></Connect>{tail}</Response>'
    )


def test_a_call_that_cannot_be_taken_is_passed_on_or_busy() -> None:
    """Without a stream a call is dialled on or redirected when set so, else the line is busy."""
    busy = '<Response><Reject reason="busy"/></Response>'
    assert admission.twiml(None, None, Settings()).endswith(busy)
    assert admission.twiml(None, None, Settings(after_stream="hangup")).endswith(busy)
    on = Settings(after_stream="dial", after_stream_value="+15551234567")
    assert admission.twiml(None, None, on).endswith(
        "<Response><Dial>+15551234567</Dial></Response>"
    )


def test_settings_choose_between_twilio_and_local_peers(tmp_path: Path) -> None:
    """With an Auth Token there is a check and an office, made as set; without one neither."""
    assert SignatureCheck.of(Settings()) is None
    assert TokenOffice.of(Settings()) is None
    settings = Settings(
        twilio_auth_token=TOKEN,
        twilio_shared_key_secret="shared",
        public_url=PUBLIC,
        token_store_dir=str(tmp_path / "used"),
        token_calls_max=2,
        token_seconds=30,
    )
    check, office = SignatureCheck.of(settings), TokenOffice.of(settings)
    assert check is not None
    assert office is not None
    assert check.check_upgrade("/a", signed(sign(TOKEN, "wss://bridge.example.com/a"))).ok
    token = office.mint(SID, 0)
    assert [office.redeem(token, SID, now_s).ok for now_s in (30, 30, 30)] == [True, True, False]
    assert office.redeem(office.mint(SID, 0), SID, 31) == refused("token_expired")
    with pytest.raises(ConfigError, match="FASTBRIDGE_PUBLIC_URL"):
        SignatureCheck.of(Settings(twilio_auth_token=TOKEN))


def test_reasons_are_a_closed_set() -> None:
    """Every reason is one known word, fit to be a counter's label."""
    assert len(set(admission.REASONS)) == len(admission.REASONS)
    assert all(reason.replace("_", "").isalnum() for reason in admission.REASONS)
