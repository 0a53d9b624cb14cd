from __future__ import annotations

import ast
import base64
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge import _ring, mulaw
from fastbridge._ring import MulawRing, PagePool, inspect_base64
from ring_oracle import decoded
from ring_samples import FRAME, fixed, paged, read_all, sound

BASE64_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

# ---- base64 is the standard library's ----


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        ("AAA", "its length 3 is not a multiple of 4"),
        ("AA-A", "character 2 is '-'"),
        ("A===", "character 1 is '='"),
        ("é===", "outside ASCII"),
    ],
)
def test_base64_error_says_where(delta: str, reason: str) -> None:
    """Bad input is refused with the field, the place and what was found there."""
    with pytest.raises(ValueError, match=reason):
        fixed().write_base64(delta, 0)


@given(st.binary(max_size=12_000), st.integers(0, 9000))
@settings(deadline=None)
def test_base64_decodes_as_the_standard_library(data: bytes, offset: int) -> None:
    """What was encoded by the standard library lies in the ring, across any page border."""
    for ring in (fixed(), paged()):
        ring.write(bytes(offset), 0)
        read_all(ring)
        assert ring.write_base64(base64.b64encode(data), 0) == len(data)
        assert read_all(ring) == data


@given(
    st.one_of(
        st.text(alphabet=BASE64_ALPHABET, max_size=24),
        st.text(max_size=12),
        st.binary(max_size=24),
        st.binary(max_size=60).map(base64.b64encode),
        st.binary(max_size=60).map(base64.urlsafe_b64encode),
    )
)
@settings(max_examples=400, deadline=None)
def test_base64_accepts_what_the_standard_library_accepts(payload: str | bytes) -> None:
    """Padded RFC 4648 and nothing else is accepted, by write and by inspection alike."""
    expected = decoded(payload)
    assert inspect_base64(payload) == (-1 if expected is None else len(expected))
    ring = fixed()
    if expected is None:
        with pytest.raises(ValueError, match="base64"):
            ring.write_base64(payload, 0)
    assert expected is None or ring.write_base64(payload, 0) == len(expected)
    assert read_all(ring) == (expected or b"")


def test_every_byte_value_is_judged_in_every_place_of_a_group() -> None:
    """The decode tables know all 256 characters in all four places."""
    for place in range(4):
        for value in range(256):
            payload = bytearray(b"AAAAAAAA")
            payload[place] = value
            expected = decoded(bytes(payload))
            assert inspect_base64(bytes(payload)) == (-1 if expected is None else 6)
            ring = fixed()
            if expected is not None:
                ring.write_base64(bytes(payload), 0)
                assert read_all(ring) == expected


# ---- wrong arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_frames": 0}, "window_frames is 0: allowed is 1 to 52428 frames"),
        ({"window_frames": 60_000}, "window_frames is 60000"),
        ({"rewind_frames": -1}, "rewind_frames is -1: allowed is 0 to"),
        ({"backlog_frames_max": 5}, "backlog_frames_max is 5: it needs a pool"),
        ({"window_frames": 50_000, "rewind_frames": 5000}, "backlog_frames_max is 55000"),
    ],
)
def test_ring_of_wrong_size_is_refused(arguments: dict[str, int], message: str) -> None:
    """A wrong size is a ValueError that names field, value and range."""
    with pytest.raises(ValueError, match=message):
        MulawRing(**arguments)  # type: ignore[arg-type]  # a dict of int fits no `pool`


def wrong_calls() -> Iterator[tuple[Callable[[MulawRing], object], type[Exception], str]]:
    """Name calls that must be refused, with the error."""
    yield lambda ring: ring.write(b"x", -1), ValueError, "epoch is -1"
    yield lambda ring: ring.write_base64("AAAA", 32_768), ValueError, "epoch is 32768"
    yield lambda ring: ring.write("text", 0), TypeError, "bytes-like"  # type: ignore[arg-type]
    yield lambda ring: ring.write_base64(bytearray(4), 0), TypeError, "bytearray"  # type: ignore[arg-type]
    yield lambda _: inspect_base64(5), TypeError, "base64 is a int"  # type: ignore[arg-type]
    yield lambda ring: ring.rewind(-1), ValueError, "nbytes is -1"
    yield lambda ring: ring.resume(1 << 40), ValueError, "rewind_bytes is 1099511627776"
    yield lambda ring: ring.rewind("5"), TypeError, "nbytes is '5'"  # type: ignore[arg-type]
    yield lambda ring: ring.read_frame_into(bytearray(159)), ValueError, "buffer has 159 bytes"
    yield lambda ring: ring.set_template(b"x" * 513, b""), ValueError, "length of prefix is 513"
    yield lambda ring: ring.set_template(b"", b"x" * 513), ValueError, "length of suffix is 513"
    yield lambda ring: ring.set_message_frames(0), ValueError, "frames is 0: allowed is 1 to 3"
    yield lambda ring: ring.set_message_frames(4), ValueError, "frames is 4: allowed is 1 to 3"
    yield lambda ring: ring.set_message_frames(1 << 70), ValueError, "allowed is 1 to 3 frames"
    yield lambda ring: ring.set_message_frames(2.0), TypeError, "frames is 2.0"  # type: ignore[arg-type]
    yield lambda _: PagePool(bytes_max=8191), ValueError, "bytes_max is 8191: allowed is 8192"
    yield lambda _: PagePool(bytes_max=1e6), TypeError, "bytes_max is 1000000.0"  # type: ignore[arg-type]


@pytest.mark.parametrize(("call", "error", "message"), list(wrong_calls()))
def test_wrong_arguments_are_named(
    call: Callable[[MulawRing], object], error: type[Exception], message: str
) -> None:
    """Bad input changes nothing and is told by field, value and what is allowed."""
    ring = fixed()
    with pytest.raises(error, match=message):
        call(ring)
    assert ring.write_position == 0


def test_buffer_that_cannot_be_written_is_refused() -> None:
    """A read into bytes is refused before a frame is taken."""
    ring = fixed()
    ring.write(sound(160), 0)
    with pytest.raises((TypeError, BufferError)):
        ring.read_frame_into(memoryview(bytes(FRAME)))
    assert ring.read_frame() == sound(160)


# ---- the stub is the contract ----


def stub_tree() -> ast.Module:
    """Parse the stub that lies beside the package."""
    stub = Path(mulaw.__file__).with_name("_ring.pyi")
    return ast.parse(stub.read_text(encoding="utf-8"))


def stub_parameters(function: ast.FunctionDef) -> list[tuple[str, object]]:
    """Return names and defaults as the stub gives them."""
    names = [argument.arg for argument in function.args.args]
    defaults = [ast.literal_eval(default) for default in function.args.defaults]
    missing: list[object] = [inspect.Parameter.empty] * (len(names) - len(defaults))
    return list(zip(names, missing + defaults, strict=True))


def built_parameters(function: Callable[..., object]) -> list[tuple[str, object]]:
    """Return names and defaults as the built module gives them."""
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]


def check_members(body: list[ast.stmt], owner: type | ModuleType) -> set[str]:
    """Compare one body of the stub with what was built; return the public names it has."""
    names = set()
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert node.value is not None
            assert getattr(owner, node.target.id) == ast.literal_eval(node.value)
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            built = getattr(owner, node.name)
            names.add(node.name)
            if node.decorator_list:
                assert inspect.isdatadescriptor(built), node.name
                assert not callable(built), node.name
            else:
                assert built_parameters(built) == stub_parameters(node), node.name
    return names


def test_stub_and_built_module_agree() -> None:
    """Names, parameters, defaults and constants of the stub are those of the compiled module."""
    body = stub_tree().body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    names = check_members(body, _ring) | {node.name for node in classes}
    assert names == {name for name in dir(_ring) if not name.startswith("_")}
    for node in classes:
        owner = getattr(_ring, node.name)
        public = {name for name in dir(owner) if not name.startswith("_")}
        assert check_members(node.body, owner) == public


def test_constructors_take_keywords_only() -> None:
    """Sizes are named where a ring or a pool is made, as in the stub."""
    for make in (lambda: MulawRing(150), lambda: PagePool(8192)):  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            make()
    for node in stub_tree().body:
        if isinstance(node, ast.ClassDef):
            init = next(f for f in node.body if isinstance(f, ast.FunctionDef))
            for argument in init.args.kwonlyargs:
                with pytest.raises((TypeError, ValueError), match=argument.arg):
                    getattr(_ring, node.name)(**{argument.arg: "?"})
